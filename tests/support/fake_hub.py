"""A hub in memory that speaks what huggingface_hub asks: create, preupload, commit, list, resolve."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_writer"  # the fake's own, of no account


@dataclass
class Hub:
    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)

    def commit_of(self, repo: str) -> str:
        return sha1(b"".join(name.encode() + data for name, data in sorted(self.files[repo].items()))).hexdigest()


@contextmanager
def fake_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path).path.strip("/").split("/")
            if parts == ["api", "validate-yaml"]:
                return self.answer(200, {"errors": [], "warnings": []})
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            if parts == ["api", "repos", "create"]:
                told = json.loads(body)
                repo = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
                hub.files.setdefault(repo, {})
                hub.private[repo] = bool(told.get("private")) or told.get("visibility") == "private"
                return self.answer(200, {"url": f"{hub.url}/{repo}", "id": repo})
            repo = "/".join(parts[2:4])
            if parts[4] == "preupload":
                asked = json.loads(body)["files"]
                told = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]
                return self.answer(200, {"files": told})
            for entry in map(json.loads, body.splitlines()):
                if entry["key"] == "file":
                    hub.files[repo][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            commit = hub.commit_of(repo)
            url = f"{hub.url}/{repo}/commit/{commit}"
            return self.answer(200, {"commitOid": commit, "commitUrl": url, "success": True})

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = [unquote(p) for p in urlsplit(self.path).path.strip("/").split("/")]
            is_api = parts[0] == "api"
            repo = "/".join(parts[2:4] if is_api else parts[:2])
            if repo not in hub.files:
                return self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            files, commit = hub.files[repo], hub.commit_of(repo)
            if is_api and "tree" in parts:
                rows = [
                    {"type": "file", "path": n, "size": len(d), "oid": sha1(d).hexdigest()} for n, d in files.items()
                ]
                return self.answer(200, rows)
            if is_api:
                return self.answer(200, {"id": repo, "sha": commit, "siblings": [{"rfilename": n} for n in files]})
            data = files["/".join(parts[4:])]
            return self.answer(200, data, {"ETag": f'"{sha1(data).hexdigest()}"', "X-Repo-Commit": commit})

        def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
