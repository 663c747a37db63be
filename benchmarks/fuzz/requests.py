"""Bodies of requests to the server, JSON and forms, up to where the network would be asked."""

import asyncio
import base64
import json
import random
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from benchmarks.fuzz import damage
from benchmarks.fuzz.case import Files, Input, WrongResultError
from benchmarks.fuzz.images import small_nifti
from model.serving.server import RequestError, Service, make_app

_BOUNDARY = "xyz"


class _Exam:
    """Stands for the exam whose lesions are asked about: what was read ends here."""

    n_bytes = 0

    def __init__(self, *_: object) -> None: ...

    def lesion(self, mask: object) -> NoReturn:
        raise RequestError("read", HTTPStatus.ACCEPTED)


def _json(rng: random.Random) -> Files:
    images = {name: base64.b64encode(data).decode() for name, data in small_nifti().items()}
    request: dict[str, Any] = {
        "model": "petar",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}]}],
        "max_tokens": 16,
        "pet": {"data": images["pet"]},
        "mask": {"data": images["mask"]},
    }
    body = json.dumps(request).encode()
    body = damage.of_json(body, rng) if rng.random() < 0.8 else damage.of_bytes(body, rng)
    return {"type": b"application/json", "body": body}


def _form(rng: random.Random) -> Files:
    parts = []
    for name, data in small_nifti().items():
        head = f'Content-Disposition: form-data; name="{name}"; filename="{name}.nii.gz"'
        parts.append(head.encode() + b"\r\n\r\n" + (damage.of_bytes(data, rng) if rng.random() < 0.5 else data))
    parts.append(b'Content-Disposition: form-data; name="question"\r\n\r\nWhat is it?')
    body = b"".join(f"--{_BOUNDARY}\r\n".encode() + part + b"\r\n" for part in parts)
    body += f"--{_BOUNDARY}--\r\n".encode()
    if rng.random() < 0.6:
        body = damage.of_bytes(body, rng)
    return {"type": f"multipart/form-data; boundary={_BOUNDARY}".encode(), "body": body}


def _ask(folder: Path) -> int:
    # No model is asked.
    service = Service(mock.Mock(), "petar", engine=mock.Mock())
    body, kind = (folder / "body").read_bytes(), (folder / "type").read_bytes()
    with mock.patch("model.serving.server.OpenExam", _Exam):
        status = asyncio.run(_status_of(make_app(service), body, kind))
    if status == HTTPStatus.ACCEPTED:
        return 1
    if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise WrongResultError(f"the server answered {status}")
    raise RequestError("refused", HTTPStatus(status))


async def _status_of(app: Any, body: bytes, kind: bytes) -> int:
    """Status that an ASGI application answers a POST with."""
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return int(next(message["status"] for message in sent if message["type"] == "http.response.start"))


INPUTS = (
    Input("HTTP: JSON", 300, _json, _ask, (RequestError,)),
    Input("HTTP: form", 300, _form, _ask, (RequestError,)),
)
