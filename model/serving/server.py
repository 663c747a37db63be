"""PETAR over HTTP as an OpenAI-compatible chat endpoint.

    petar serve --checkpoint DIR [--port 8000] [--files DIR]

    POST /v1/chat/completions
    {"model": "petar", "messages": [{"role": "user", "content": "Please describe the region highlighted in the PET
    image."}],
     "pet": {"path": "exam/SUV.nii.gz"}, "ct": {"path": "exam/CT.nii.gz"}, "mask": {"data": "<base64 of a NIfTI>"}}

With the `openai` client the images go into `extra_body`. `path` is below the folder given with `--files` (without it,
paths are refused); `data` is an upload, plain or gzipped NIfTI. Files may also come as a form, which needs no base64:

    curl -F pet=@SUV.nii.gz -F ct=@CT.nii.gz -F mask=@MASK.nii.gz http://127.0.0.1:8000/v1/chat/completions

whose other fields are those of the JSON body: `messages` as JSON (or `question`, else what the model was trained on is
asked), `model`, `max_tokens`, `stream`; an image field without a file is a path. PET is in SUV, CT (optional) in HU.
The answer's content is the text with measured numbers; the field `petar` has what the model said, what was measured,
and warnings: no CT, or a question that the model was not trained on (`GET /v1/models` says which). Answers are greedy,
one a request: what asks for something else (a temperature, several answers, tools) is refused. Questions that come
together are answered in one batch (`batching`).

A request must come in time and within bounds (`limits`), and name this machine as Host.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import socket
import tempfile
import time
import uuid
import zlib
from collections.abc import Collection, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvicorn
from python_multipart.multipart import parse_options_header
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from model.inputs.tensors import SampleError
from model.petar.checkpoints import Checkpoint
from model.serving.batching import Batcher, BatchLimits, QueueFullError
from model.serving.engines import Answer, Ask, Engine, EngineError, OwnEngine
from model.serving.limits import (
    MAX_BODY_BYTES,
    MAX_CONNECTIONS,
    HostCheck,
    TimedProtocol,
    TooLargeError,
    body_timeout_s,
    unpacked,
)
from model.serving.questions import Lesion, OpenExam, Prepared, ask
from model.serving.shared_cache import SharedCache
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.tables.safe_text import error_reason

_GZIP_MAGIC = b"\x1f\x8b"
MAX_NEW_TOKENS = 512
ANSWER_TIMEOUT_S = 120.0
"""For an answer, the wait for others' included."""
EXAM_BYTES, LESION_BYTES = 1 << 30, 256 << 20
"""Of the volumes of exams, and of the images of lesions, that are kept for further questions."""


class RequestError(ValueError):
    """A request that cannot be answered, with its HTTP status; the message says what was expected."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Service:
    """A loaded model and what it may read. Questions go to the model in batches, one batch at a time."""

    checkpoint: Checkpoint
    model_name: str
    files: Path | None = None
    limits: BatchLimits = field(default_factory=BatchLimits)
    timeout_s: float = ANSWER_TIMEOUT_S
    engine: Engine | None = None
    """What answers; None: the checkpoint's model on the CPU."""

    def __post_init__(self) -> None:
        engine = self.engine or OwnEngine(self.checkpoint)
        self._batcher: Batcher[Ask, Answer] = Batcher(engine.answers, self.limits)
        self._exams: SharedCache[OpenExam] = SharedCache(EXAM_BYTES, lambda exam: exam.n_bytes)
        self._lesions: SharedCache[Lesion] = SharedCache(LESION_BYTES, lambda lesion: lesion.n_bytes)

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together at most."""
        return self.checkpoint.contract.config.language.max_positions

    def models(self) -> dict[str, Any]:
        """The answer to GET /v1/models, with the questions that the model was trained on."""
        about = {"id": self.model_name, "object": "model", "created": 0, "owned_by": "petar"}
        questions = list(self.checkpoint.contract.questions)
        return {"object": "list", "data": [about | {"max_model_len": self.context, "questions": questions}]}

    def chat(self, request: Mapping[str, Any]) -> "Said":
        """What the model says to a chat request. Raises RequestError where it is not one that can be answered."""
        _check_supported(request)
        asked = request.get("model") or self.model_name
        if asked != self.model_name:
            raise RequestError(f"expected model {self.model_name!r}, got {asked!r}", HTTPStatus.NOT_FOUND)
        question = _question(request.get("messages"))
        limit = next((request[n] for n in _LENGTHS if request.get(n) is not None), None)
        if limit is not None and (
            not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_NEW_TOKENS
        ):
            raise RequestError(f"expected max_tokens in 1..{MAX_NEW_TOKENS}, got {limit!r}")
        with self._batcher.coming():
            prepared = self._prepared(request, question)
            room = self.context - prepared.n_prompt
            if room < (limit or 1):
                raise RequestError(
                    f"expected at most {self.context} tokens of prompt and answer, got {prepared.n_prompt} and "
                    f"{limit or 1}: ask a shorter question or lower max_tokens"
                )
            # Before it is no longer coming, so that the batch does not leave without it.
            waiting = self._ask(prepared, min(limit or _USUAL_TOKENS, room))
        try:
            return Said(prepared, waiting.result(self.timeout_s))
        except TimeoutError as error:
            waiting.cancel()
            raise RequestError(
                f"expected an answer within {self.timeout_s:g} s, the server is busy: ask again later",
                HTTPStatus.GATEWAY_TIMEOUT,
            ) from error
        except SampleError as error:
            raise RequestError(str(error)) from error
        except EngineError as error:
            raise RequestError(str(error), HTTPStatus.BAD_GATEWAY) from error

    def _ask(self, prepared: Prepared, limit: int) -> "Future[Answer]":
        try:
            return self._batcher.ask(Ask(prepared.item, limit, prepared.images_key))
        except QueueFullError as error:
            raise RequestError(f"{error}: ask again later", HTTPStatus.SERVICE_UNAVAILABLE) from error

    def _prepared(self, request: Mapping[str, Any], question: str) -> Prepared:
        """The question with its images as inputs; an exam and a lesion that were asked about lately are not read
        again.
        """
        sources = {name: self._source(name, request.get(name)) for name in _IMAGES}
        pet, ct, mask = (sources[name] for name in _IMAGES)
        if pet is None or mask is None:
            raise RequestError(
                'expected "pet" and "mask" as {"path": ...} or {"data": <base64>} in the body, or as files of a form, '
                "got none"
            )
        key = pet.key, None if ct is None else ct.key

        def opened() -> OpenExam:
            return OpenExam(pet.volume(), None if ct is None else ct.volume(), self.checkpoint.contract.config)

        try:
            exam = self._exams.get(key, opened)
            lesion = self._lesions.get((key, mask.key), lambda: exam.lesion(mask.volume()))
            return ask(lesion, self.checkpoint, question or None, (key, mask.key))
        except (SampleError, ExamError) as error:
            raise RequestError(str(error)) from error

    def _source(self, name: str, given: Any) -> "_Source | None":
        """What an image of a request is read from; None where it gives none."""
        if given is None:
            return None
        if not isinstance(given, Mapping) or len({"path", "data"} & set(given)) != 1:
            raise RequestError(f'expected {name} as {{"path": ...}} or {{"data": <base64>}}, got {str(given)[:60]!r}')
        try:
            if "data" in given:
                content = _content(given["data"])
                return _Source(name, blake2b(content).digest(), content)
            path = self._allowed(given["path"])
            state = path.stat()
            return _Source(name, (path, state.st_mtime_ns, state.st_size), path)
        except OSError as error:
            raise RequestError(f"{name}: {error_reason(error)}") from error
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


@dataclass(frozen=True)
class Said:
    """A question and the model's answer."""

    asked: Prepared
    answer: Answer


_LENGTHS = ("max_completion_tokens", "max_tokens")
_USUAL_TOKENS = 128
_TAKEN = {"model", "messages", *_LENGTHS, "stream", "pet", "ct", "mask", "user", "seed", "metadata", "store"}
"""Fields that are read, and those that change nothing about one greedy answer."""
_ONE_VALUE: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "temperature": (0,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "stop": ([], ""),
    "tools": ([],),
    "tool_choice": ("none",),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "stream_options": ({}, {"include_usage": False}),
}
"""Fields of OpenAI's that are taken with the value alone that asks for what is done anyway."""


def _check_supported(request: Mapping[str, Any]) -> None:
    """Raises RequestError for a field that the server would otherwise pass over."""
    for name, value in request.items():
        if name in _TAKEN or value is None:
            continue
        if name not in _ONE_VALUE:
            raise RequestError(f"expected fields among {', '.join(sorted(_TAKEN))}, got {name!r}: leave it out")
        # 0 is no False here, nor 1 True.
        if not any(
            value == allowed and isinstance(value, bool) == isinstance(allowed, bool) for allowed in _ONE_VALUE[name]
        ):
            raise RequestError(
                f"expected {name} {_ONE_VALUE[name][0]!r}, for answers are greedy, one a request, and text; got "
                f"{str(value)[:60]!r}: leave it out"
            )


def _question(messages: Any) -> str:
    """The text of the last user message; its content is a string or a list of parts."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RequestError("expected messages with a user's question, got none")
    for message in reversed(messages):
        if not isinstance(message, Mapping) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            return content.strip()
        if isinstance(content, Sequence):
            texts = [str(p.get("text", "")) for p in content if isinstance(p, Mapping) and p.get("type") == "text"]
            return " ".join(texts).strip()
    raise RequestError("expected a message of the role user with text, got none")


@dataclass(frozen=True)
class _Source:
    """A file or an upload that an image is read from."""

    name: str
    key: Hashable
    """Equal for equal content: of a file its path, time and size."""
    content: Path | bytes

    def volume(self) -> Volume:
        """The image. Raises RequestError where it cannot be read."""
        try:
            if isinstance(self.content, bytes):
                return _unpacked_volume(self.content)
            with self.content.open("rb") as file:
                is_packed = file.read(2) == _GZIP_MAGIC
            return _unpacked_volume(self.content.read_bytes()) if is_packed else load_nifti(self.content)
        except (ExamError, OSError) as error:
            reason = error if isinstance(error, ExamError) else error_reason(error)
            raise RequestError(f"{self.name}: {reason}") from error
        except RequestError as error:
            raise RequestError(f"{self.name}: {error}", error.status) from error


def _content(data: Any) -> bytes:
    """The bytes of an upload: those of a form, or base64 of JSON."""
    try:
        return data if isinstance(data, bytes) else base64.b64decode(str(data), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"expected base64 of a NIfTI file, cannot decode it ({error_reason(error)})") from error


def _unpacked_volume(content: bytes) -> Volume:
    """The volume of a NIfTI's bytes, gzipped or not, unpacked within bounds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload.nii"
        try:
            with path.open("wb") as file:
                for piece in unpacked(content) if content.startswith(_GZIP_MAGIC) else (content,):
                    file.write(piece)
        except TooLargeError as error:
            raise RequestError(str(error), HTTPStatus.REQUEST_ENTITY_TOO_LARGE) from error
        except zlib.error as error:
            raise RequestError("expected a whole gzipped NIfTI, got one that is damaged or cut short") from error
        volume = load_nifti(path)
        # Out of the memory map, for the file goes.
        return Volume(volume.array.copy(), volume.affine)


_IMAGES = ("pet", "ct", "mask")
_MOST_FIELDS = 20
"""Of a form, beside its files."""


async def _from_form(request: Request, content: bytes) -> dict[str, Any]:
    """The request of a form, as the JSON body would be; uploads are bytes."""
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary")
    # Without its end a form may lack its last files, and the CT is optional.
    if boundary and b"--" + boundary + b"--" not in content:
        raise RequestError("expected a form that ends with its boundary, got one that is cut short")
    found: dict[str, Any] = {}
    async with request.form(max_files=len(_IMAGES), max_fields=_MOST_FIELDS, max_part_size=MAX_BODY_BYTES) as form:
        for name, value in form.multi_items():
            sent = await value.read() if isinstance(value, UploadFile) else value.strip()
            if name in _IMAGES:
                found[name] = {"data" if isinstance(sent, bytes) else "path": sent} if sent else None
            else:
                found[name] = _plain(sent if isinstance(sent, str) else sent.decode("utf-8", "replace"))
    if "messages" not in found:
        found["messages"] = [{"role": "user", "content": str(found.pop("question", ""))}]
    return found


def _plain(text: str) -> Any:
    """What a field of a form says in JSON, else its text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def completion(model_name: str, said: Said) -> dict[str, Any]:
    """The body of an OpenAI chat completion, with the field `petar` beside."""
    described = said.asked.described(said.answer.text)
    prompt, answer = said.asked.n_prompt, said.answer.n_tokens
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": described.text_measured},
                "finish_reason": "stop" if said.answer.is_whole else "length",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
        "petar": asdict(described) | {"question": said.asked.question},
    }


def _stream(body: Mapping[str, Any]) -> bytes:
    """The completion as server-sent events: the whole text in one chunk, the end, and [DONE]."""
    head = {k: body[k] for k in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    message, reason = body["choices"][0]["message"], body["choices"][0]["finish_reason"]
    chunks = [
        {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}], "petar": body["petar"]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
    ]
    return "".join(f"data: {json.dumps(c)}\n\n" for c in chunks).encode() + b"data: [DONE]\n\n"


async def _read(request: Request) -> dict[str, Any]:
    """The JSON object or the form of a request."""
    length = request.headers.get("content-length", "")
    if not length.isascii() or not length.isdecimal():
        raise RequestError("expected a body with Content-Length, got none", HTTPStatus.LENGTH_REQUIRED)
    if int(length) > MAX_BODY_BYTES:
        raise RequestError(
            f"expected at most {MAX_BODY_BYTES} bytes, got {length}: give paths", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        )
    try:
        async with asyncio.timeout(body_timeout_s(int(length))):
            content = await request.body()
    except TimeoutError as error:
        raise RequestError("the body did not come in time: send it faster", HTTPStatus.REQUEST_TIMEOUT) from error
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _from_form(request, content)
    try:
        found = await run_in_threadpool(json.loads, content)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"expected JSON, cannot read the body ({error_reason(error)})") from error
    if not isinstance(found, dict):
        raise RequestError(f"expected a JSON object, got {type(found).__name__}")
    return found


def _refused(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An error in OpenAI's form."""
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": int(status)}
    return JSONResponse({"error": error}, status, headers)


def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    # What is not read of a body would be taken for the next request.
    statuses = (HTTPStatus.LENGTH_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT)
    unread = error.status in statuses
    return _refused(str(error), error.status, {"connection": "close"} if unread else None)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        known = "POST /v1/chat/completions, GET /v1/models or GET /health"
        return _refused(f"expected {known}, got {request.method} {request.url.path}", error.status_code)
    return _refused(error.detail, error.status_code)


def _own_error(request: Request, error: Exception) -> Response:
    # One bad request must not take the server down, nor tell a stranger what is inside.
    return _refused("the server failed on this request; its log says why", HTTPStatus.INTERNAL_SERVER_ERROR)


def make_app(service: Service) -> Starlette:
    """The endpoints of a service, as an ASGI application."""

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": service.model_name})

    async def models(request: Request) -> Response:
        return JSONResponse(service.models())

    async def chat(request: Request) -> Response:
        asked = await _read(request)
        body = completion(service.model_name, await run_in_threadpool(service.chat, asked))
        if asked.get("stream"):
            return Response(_stream(body), media_type="text/event-stream")
        return JSONResponse(body)

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/health", health),
            Route("/v1/models", models),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ],
        exception_handlers={RequestError: _request_error, HTTPException: _http_error, Exception: _own_error},
    )


def make_server(
    service: Service, host: str, port: int, names: Collection[str] = ()
) -> tuple[uvicorn.Server, socket.socket]:
    """A server to run and the socket to run it on, where connections wait from now on; port 0 takes a free one.

    Args:
        names: names of the server in Host headers, beside this machine's own and all addresses; `*`: any.
    """
    config = uvicorn.Config(
        HostCheck(make_app(service), (host, *names)),
        host,
        port,
        log_config=None,
        http=TimedProtocol,
        limit_concurrency=MAX_CONNECTIONS,
    )
    bound = config.bind_socket()
    bound.listen()
    return uvicorn.Server(config), bound


def serve(service: Service, host: str, port: int, names: Collection[str] = ()) -> None:
    """Answers requests until interrupted; `names` as in `make_server`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    server, bound = make_server(service, host, port, names)
    print(f"serving {service.model_name!r} on http://{host}:{bound.getsockname()[1]}/v1", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[bound])
