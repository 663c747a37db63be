"""PETAR over HTTP as an OpenAI-compatible chat endpoint.

    python -m model.serving.server --checkpoint DIR [--port 8000] [--files DIR]

    POST /v1/chat/completions
    {"model": "petar", "messages": [{"role": "user", "content": "Please describe the region highlighted in the PET
    image."}],
     "pet": {"path": "exam/SUV.nii.gz"}, "ct": {"path": "exam/CT.nii.gz"}, "mask": {"data": "<base64 of a NIfTI>"}}

With the `openai` client the images go into `extra_body`. `path` is below the folder given with `--files` (without it,
paths are refused); `data` is an upload, plain or gzipped NIfTI. Files may also come as a form, which needs no base64:

    curl -F pet=@SUV.nii.gz -F ct=@CT.nii.gz -F mask=@MASK.nii.gz http://127.0.0.1:8000/v1/chat/completions

whose other fields are those of the JSON body: `messages` as JSON (or `question`, else the paper's is asked), `model`,
`max_tokens`, `stream`; an image field without a file is a path. PET is in SUV, CT (optional) in HU. The answer's
content is the text with measured numbers; the field `petar` has what the model said and what was measured. `stream` is
understood.
"""

import argparse
import base64
import binascii
import json
import logging
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from model.inputs.tensors import SampleError
from model.petar.checkpoints import Checkpoint, CheckpointError
from model.petar.config import QUESTION
from model.petar.hub import from_pretrained
from model.serving.forms import FormError, form_parts
from model.serving.generation import Description, describe
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, load_nifti

log = logging.getLogger(__name__)

_GZIP_MAGIC = b"\x1f\x8b"
MAX_BODY_BYTES = 1 << 30
MAX_NEW_TOKENS = 512


class RequestError(ValueError):
    """A request that cannot be answered, with its HTTP status; the message says what was expected."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Service:
    """A loaded model and what it may read. One request at a time is with the model."""

    checkpoint: Checkpoint
    model_name: str
    files: Path | None = None
    device: str = "cpu"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def models(self) -> dict[str, Any]:
        """The answer to GET /v1/models."""
        return {"object": "list", "data": [{"id": self.model_name, "object": "model", "owned_by": "petar"}]}

    def chat(self, request: Mapping[str, Any]) -> tuple[str, Description]:
        """(question, description) of a chat request. Raises RequestError where it is not one that can be answered."""
        asked = request.get("model") or self.model_name
        if asked != self.model_name:
            raise RequestError(f"expected model {self.model_name!r}, got {asked!r}", HTTPStatus.NOT_FOUND)
        question = _question(request.get("messages"))
        limit = request.get("max_completion_tokens") or request.get("max_tokens") or 128
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_NEW_TOKENS:
            raise RequestError(f"expected max_tokens in 1..{MAX_NEW_TOKENS}, got {limit!r}")
        volumes = {name: self._volume(name, request.get(name)) for name in _IMAGES}
        pet, mask = volumes["pet"], volumes["mask"]
        if pet is None or mask is None:
            raise RequestError(
                'expected "pet" and "mask" as {"path": ...} or {"data": <base64>} in the body, or as files of a form, '
                "got none"
            )
        with self.lock:
            try:
                said = describe(
                    pet,
                    volumes["ct"],
                    mask,
                    self.checkpoint,
                    question=question,
                    max_new_tokens=limit,
                    device=self.device,
                )
            except (SampleError, ExamError) as error:
                raise RequestError(str(error)) from error
        return question, said

    def _volume(self, name: str, given: Any) -> Volume | None:
        if given is None:
            return None
        if not isinstance(given, Mapping) or len({"path", "data"} & set(given)) != 1:
            raise RequestError(f'expected {name} as {{"path": ...}} or {{"data": <base64>}}, got {str(given)[:60]!r}')
        try:
            return load_nifti(self._allowed(given["path"])) if "path" in given else _uploaded(given["data"])
        except ExamError as error:
            raise RequestError(f"{name}: {error}") from error
        except RequestError as error:
            raise RequestError(f"{name}: {error}", error.status) from error

    def _allowed(self, path: Any) -> Path:
        if self.files is None:
            raise RequestError("paths are not served: start with --files, or upload data", HTTPStatus.FORBIDDEN)
        root = self.files.resolve()
        found = (root / str(path)).resolve()
        if not found.is_relative_to(root):
            raise RequestError(f"expected a path below {root}, got {path!r}", HTTPStatus.FORBIDDEN)
        if not found.is_file():
            raise RequestError(f"expected a file, {path!r} is not there", HTTPStatus.NOT_FOUND)
        return found


def _question(messages: Any) -> str:
    """The text of the last user message; its content is a string or a list of parts."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RequestError("expected messages with a user's question, got none")
    for message in reversed(messages):
        if not isinstance(message, Mapping) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            return content.strip() or QUESTION
        if isinstance(content, Sequence):
            texts = [str(p.get("text", "")) for p in content if isinstance(p, Mapping) and p.get("type") == "text"]
            return " ".join(texts).strip() or QUESTION
    raise RequestError("expected a message of the role user with text, got none")


def _uploaded(data: Any) -> Volume:
    """The volume of an upload: bytes of a form, or base64 of JSON."""
    try:
        content = data if isinstance(data, bytes) else base64.b64decode(str(data), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"expected base64 of a NIfTI file, cannot decode it ({error})") from error
    suffix = ".nii.gz" if content.startswith(_GZIP_MAGIC) else ".nii"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(content)
        volume = load_nifti(path)
        # Out of the memory map, for the file goes.
        return Volume(volume.array.copy(), volume.affine)


_IMAGES = ("pet", "ct", "mask")


def _from_form(content: bytes, content_type: str) -> dict[str, Any]:
    """The request of a form, as the JSON body would be; uploads are bytes."""
    try:
        parts = form_parts(content, content_type)
    except FormError as error:
        raise RequestError(str(error)) from error
    request: dict[str, Any] = {}
    for part in parts:
        if part.name in _IMAGES:
            text = None if part.filename is not None else part.content.decode("utf-8", "replace").strip()
            request[part.name] = {"data": part.content} if text is None else {"path": text} if text else None
            continue
        text = part.content.decode("utf-8", "replace")
        try:
            request[part.name] = json.loads(text)
        except ValueError:
            request[part.name] = text
    if "messages" not in request:
        request["messages"] = [{"role": "user", "content": str(request.pop("question", ""))}]
    return request


def completion(model_name: str, question: str, said: Description, checkpoint: Checkpoint) -> dict[str, Any]:
    """The body of an OpenAI chat completion, with the field `petar` beside."""
    tokenizer = checkpoint.tokenizer
    prompt = len(tokenizer.encode(checkpoint.contract.config, question, None).prompt)
    answer = len(tokenizer.tokenizer.encode(said.text, add_special_tokens=False))
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said.text_measured},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
        "petar": asdict(said),
    }


def _stream(body: Mapping[str, Any]) -> bytes:
    """The completion as server-sent events: the whole text in one chunk, the end, and [DONE]."""
    head = {k: body[k] for k in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    message = body["choices"][0]["message"]
    chunks = [
        {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}], "petar": body["petar"]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    return "".join(f"data: {json.dumps(c)}\n\n" for c in chunks).encode() + b"data: [DONE]\n\n"


def make_server(service: Service, host: str = "127.0.0.1", port: int = 8000) -> ThreadingHTTPServer:
    """A server that is bound and not yet running; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path in ("/health", "/v1/health"):
                self._json(HTTPStatus.OK, {"status": "ok", "model": service.model_name})
            elif self.path == "/v1/models":
                self._json(HTTPStatus.OK, service.models())
            else:
                known = "/v1/chat/completions, /v1/models or /health"
                self._error(RequestError(f"expected {known}, got {self.path}", HTTPStatus.NOT_FOUND))

        def do_POST(self) -> None:
            try:
                request = self._request()
                question, said = service.chat(request)
                body = completion(service.model_name, question, said, service.checkpoint)
            except RequestError as error:
                self._error(error)
                return
            except Exception:
                # One bad request must not take the server down, nor tell a stranger what is inside.
                log.exception("request failed")
                why = "the server failed on this request; its log says why"
                self._error(RequestError(why, HTTPStatus.INTERNAL_SERVER_ERROR))
                return
            if request.get("stream"):
                self._send(HTTPStatus.OK, _stream(body), "text/event-stream")
            else:
                self._json(HTTPStatus.OK, body)

        def _request(self) -> dict[str, Any]:
            # What is not read of a body would be taken for the next request.
            self.close_connection = True
            if self.path != "/v1/chat/completions":
                raise RequestError(f"expected POST to /v1/chat/completions, got {self.path}", HTTPStatus.NOT_FOUND)
            length = self.headers.get("Content-Length", "")
            if not length.isdigit():
                raise RequestError("expected a body with Content-Length, got none", HTTPStatus.LENGTH_REQUIRED)
            if int(length) > MAX_BODY_BYTES:
                raise RequestError(
                    f"expected at most {MAX_BODY_BYTES} bytes, got {length}: give paths",
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                )
            content = self.rfile.read(int(length))
            self.close_connection = False
            kind = self.headers.get("Content-Type", "")
            if kind.lower().startswith("multipart/form-data"):
                return _from_form(content, kind)
            try:
                request = json.loads(content)
            except ValueError as error:
                raise RequestError(f"expected JSON, cannot read the body ({error})") from error
            if not isinstance(request, dict):
                raise RequestError(f"expected a JSON object, got {type(request).__name__}")
            return request

        def _error(self, error: RequestError) -> None:
            kind = "server_error" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
            told = {"message": str(error), "type": kind, "param": None, "code": int(error.status)}
            self._json(error.status, {"error": told})

        def _json(self, status: HTTPStatus, body: Mapping[str, Any]) -> None:
            self._send(status, json.dumps(body).encode(), "application/json")

        def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            log.info("%s %s", self.address_string(), format % args)

    return ThreadingHTTPServer((host, port), Handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until interrupted; exit code 1 where the checkpoint cannot be loaded."""
    parser = argparse.ArgumentParser(
        "python -m model.serving.server", description="Serve a PETAR checkpoint as a chat endpoint."
    )
    parser.add_argument("--checkpoint", required=True, help="folder of a trained checkpoint, or its hub id")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; there is no login: keep it private")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--files", type=Path, help="folder below which paths in requests are read")
    parser.add_argument("--name", default="petar", help="name of the model in requests")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        service = Service(from_pretrained(options.checkpoint), options.name, options.files, options.device)
    except CheckpointError as error:
        print(f"cannot serve: {error}", file=sys.stderr)
        return 1
    server = make_server(service, options.host, options.port)
    address = f"http://{options.host}:{server.server_port}/v1"
    print(f"serving {options.checkpoint} as {options.name!r} on {address}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
