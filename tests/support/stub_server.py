"""An OpenAI-compatible server of a few lines, in a thread, that answers by rules or misbehaves as it is told."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "stub"


@dataclass
class Stub:
    """`behave(text, n)` gives (status, content or None for the rules' answer, finish_reason) of the n-th question (from
    0) about a text.
    """

    behave: Callable = lambda text, n: (200, None, "stop")
    delay_s: float = 0.0
    asked: list = field(default_factory=list)
    bodies: list = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    connections: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


def right_answer(text):
    """What the rules read in the numbered sentences of a passage, as a model answers."""
    from pipelines.reports.rules.pairs import extract

    mentions = []
    for line in text.splitlines():
        number, _, sentence = line.partition(". ")
        if not number.isdigit():
            continue
        for lesion in extract(sentence).lesions:
            values = {"suv": lesion.suvmax, "slice": lesion.slice}
            values = {name: value for name, value in values.items() if value is not None}
            mentions.append({"sentences": [int(number)], "role": "lesion", "exam": "current", **values})
    return json.dumps({"mentions": mentions})


@contextmanager
def serving(stub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self):
            super().setup()
            with stub.lock:
                stub.connections += 1

        def log_message(self, *args):
            pass

        def do_GET(self):
            self._send(
                200, {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "us"}]}
            )

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = body["messages"][-1]["content"]
            with stub.lock:
                n = stub.asked.count(text)
                stub.asked.append(text)
                stub.bodies.append(body)
                stub.in_flight += 1
                stub.most_in_flight = max(stub.most_in_flight, stub.in_flight)
            try:
                time.sleep(stub.delay_s)
                if body["model"] != MODEL:
                    self._send(404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}})
                    return
                status, content, finish = stub.behave(text, n)
                if status != 200:
                    self._send(status, {"error": {"message": content or "broken", "code": status}})
                    return
                content = right_answer(text) if content is None else content
                self._send(
                    200,
                    {
                        "id": "x",
                        "object": "chat.completion",
                        "created": 0,
                        "model": MODEL,
                        "choices": [
                            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}
                        ],
                    },
                )
            finally:
                with stub.lock:
                    stub.in_flight -= 1

        def _send(self, status, value):
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if status != 200:
                # The client waits no longer than it is told, so that tests of retries are quick.
                self.send_header("retry-after-ms", "5")
            self.end_headers()
            # A client that timed out is gone.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    # A process of its own, so that a benchmark or a killed client leaves it alone: prints its address, ends with its
    # parent's pipe.
    import sys

    with serving(Stub(delay_s=float(sys.argv[1]))) as running:
        print(running.url, flush=True)
        for line in sys.stdin:
            if line.strip() == "asked":
                print(json.dumps(running.asked), flush=True)
