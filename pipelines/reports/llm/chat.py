"""Many questions to one model on OpenAI-compatible servers: bounded in flight, cached, and none ever lost."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.reports.llm.answer_format import short
from pipelines.reports.llm.answers import AnswerCache, CacheError, answer_key
from pipelines.reports.llm.servers import Server, ServerPool, ServerSettings, event_loop
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.tables.hashing import hash_of
from pipelines.tables.safe_text import error_reason, places_of

if TYPE_CHECKING:
    import openai

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Check = Callable[[str], str | None]
"""Says what is wrong with an answer's text, null where nothing is."""


class Question(Protocol):
    """How a text becomes a request: a `Prompt`, or what a judge or a vision-language model is asked."""

    @property
    def version(self) -> str:
        """What answers are cached by, beside model and text."""
        ...

    @property
    def schema_text(self) -> str:
        """The schema of the answer as text, for keys; empty where the answer is free."""
        ...

    def messages(self, text: str) -> list[dict[str, Any]]:
        """The chat that asks about one text."""
        ...

    def response_format(self) -> dict[str, Any] | None:
        """What makes the server answer by a schema; None where the answer is free."""
        ...


_LOG_EVERY_S = 10.0
_MORE_ROOM = 4
"""A cut answer is asked once more with so many times the room."""
_CUT = "\x00cut off after "
"""Begins the kept answer of a question that was cut off twice; the number of tokens follows."""


@dataclass(frozen=True)
class Answer:
    """What came of one question: the answer's text or, where there is none that can be used, the reason. `raw` is what
    came, word for word.
    """

    text: str | None
    error: str | None
    raw: str | None
    from_cache: bool


@dataclass(frozen=True)
class Asker:
    """A prompt put to a model under a name: what readers share."""

    name: str
    server: ServerSettings
    prompt: Question
    cache: AnswerCache | None = None
    vocabulary: Vocabulary = field(default_factory=package_vocabulary)
    """What bears or refuses an answer."""

    @property
    def asked(self) -> str:
        """Model, prompt and sampling: what an answer depends on beside the text."""
        return f"{self.server.model}/{self.prompt.version}/sampling@{hash_of(self.server.sampling)[:8]}"


class QuestionError(RuntimeError):
    """A question that cannot be put together; the message says why, in words of ours."""


class _PermanentError(Exception):
    """A failure that no retry changes. `stops_all` where every other question would meet it too; `raw` is what the
    model said, where it said something.
    """

    def __init__(self, message: str, *, stops_all: bool = False, raw: str | None = None) -> None:
        super().__init__(message)
        self.stops_all = stops_all
        self.raw = raw


class _CutError(_PermanentError):
    """The answer was cut off at `room` tokens."""

    def __init__(self, room: int, raw: str) -> None:
        super().__init__(f"answer cut off after {room} tokens: {short(raw)}", raw=raw)
        self.room = room


class _TransientError(Exception):
    """A failure that another server, or a later run, may not have. `is_server` where the server is the reason."""

    def __init__(self, message: str, *, is_server: bool = False) -> None:
        super().__init__(message)
        self.is_server = is_server


def ask_all(
    server: ServerSettings,
    prompt: Question,
    texts: Sequence[str],
    cache: AnswerCache | None,
    check: Check,
    *,
    name: str,
    progress: Progress | None = None,
    room: Callable[[str], int] | None = None,
) -> list[Answer]:
    """One answer a text, in the order of the texts. Equal texts are asked once; what a model said is kept in the cache
    at once, also where `check` refuses it, for the model would say it again.

    Args:
        name: who asks, for the log and in errors.
        progress: called as (done, all) every few seconds and at the end.
        room: tokens that the answer about a text may have; by default the server's `max_tokens`, which is the most.

    Never raises for what the server does: that becomes the answer's `error`.
    """
    if not texts:
        return []
    counts = Counter(texts)
    keys = {text: key_of(server, prompt, text) for text in counts}
    kept = cache.get(list(keys.values())) if cache is not None else {}
    found: dict[str, Answer] = {}
    for text, key in keys.items():
        answer = _kept(kept[key], check, _rooms(text, server, room)[1]) if key in kept else None
        if answer is not None:
            found[text] = answer
    missing = [text for text in counts if text not in found]
    run = _Run(server, prompt, cache, check, name, keys, counts, sum(counts[t] for t in found), progress, room)
    if missing:
        asked = asyncio.run_coroutine_threadsafe(run.ask(missing), event_loop())
        try:
            found.update(asked.result())
        except BaseException:
            asked.cancel()
            raise
    run.report(is_last=True)
    return [found[t] for t in texts]


def key_of(server: ServerSettings, prompt: Question, text: str) -> str:
    """What an answer is kept by."""
    sampling = json.dumps(server.sampling, sort_keys=True)
    return answer_key(server.model, prompt.version, prompt.schema_text, sampling, text)


def _rooms(text: str, server: ServerSettings, room: Callable[[str], int] | None) -> tuple[int, int]:
    """Tokens that the answer about a text may have, and once more where it was cut off."""
    first = min(room(text), server.max_tokens) if room is not None else server.max_tokens
    return first, min(_MORE_ROOM * first, server.max_tokens)


def _kept(raw: str, check: Check, most: int) -> Answer | None:
    """A kept answer as it is read now; null where it was cut off and there is more room now."""
    if raw.startswith(_CUT):
        room, _, said = raw.removeprefix(_CUT).partition("\n")
        if int(room) < most:
            return None
        return Answer(None, str(_CutError(int(room), said)), said, True)
    problem = check(raw)
    return Answer(None if problem else raw, problem, raw, True)


@dataclass
class _Run:
    """The questions of one call of `ask_all`."""

    server: ServerSettings
    prompt: Question
    cache: AnswerCache | None
    check: Check
    name: str
    keys: Mapping[str, str]
    """Of the cache, by text."""
    counts: Mapping[str, int]
    """How often each text was given."""
    n_cached: int
    progress: Progress | None
    room: Callable[[str], int] | None
    n_failed: int = 0
    failures_in_a_row: int = 0
    stopped: str | None = None
    """Why nothing is asked any more."""

    def __post_init__(self) -> None:
        self.n_done, self.total = self.n_cached, sum(self.counts.values())
        self.format = self.prompt.response_format()
        self.began = self.logged = time.monotonic()

    async def ask(self, texts: Sequence[str]) -> dict[str, Answer]:
        """One answer a text."""
        found: dict[str, Answer] = {}
        queue = iter(texts)
        self.pool = ServerPool(self.server)
        n_workers = max(1, min(self.server.in_flight * len(self.pool.servers), len(texts)))
        await asyncio.gather(*(self._work(queue, found) for _ in range(n_workers)))
        return found

    async def _work(self, queue: Iterator[str], found: dict[str, Answer]) -> None:
        for text in queue:
            found[text] = answer = await self._answer(text)
            self.n_done += self.counts[text]
            self.n_failed += 0 if answer.error is None else self.counts[text]
            self.report()

    async def _answer(self, text: str) -> Answer:
        if self.stopped is not None:
            return Answer(None, self.stopped, None, False)
        try:
            raw = await self._with_room(text)
        except _CutError as error:
            self._keep(text, f"{_CUT}{error.room}\n{error.raw}")
            return Answer(None, str(error), error.raw, False)
        except (_PermanentError, _TransientError) as error:
            return self._failed(error)
        except QuestionError as error:
            return Answer(None, str(error), None, False)
        except Exception as error:  # one question's surprise must not lose the others
            log.error("reader %s: unexpected %s\n%s", self.name, type(error).__name__, places_of(error))
            return Answer(None, f"unexpected {type(error).__name__}", None, False)
        self.failures_in_a_row = 0
        self._keep(text, raw)
        problem = self.check(raw)
        return Answer(None if problem else raw, problem, raw, False)

    def _failed(self, error: _PermanentError | _TransientError) -> Answer:
        self.failures_in_a_row += 1
        if getattr(error, "stops_all", False) or self.failures_in_a_row >= self.server.give_up_after:
            self._stop(str(error))
        return Answer(None, str(error), None, False)

    def _keep(self, text: str, raw: str) -> None:
        if self.cache is None:
            return
        try:
            self.cache.put(self.keys[text], self.server.model, self.prompt.version, text, raw)
        except CacheError as error:
            # The answer is good; only a rerun will have to ask for it again.
            log.error("reader %s: %s", self.name, error)

    def _stop(self, message: str) -> None:
        if self.stopped is None:
            self.stopped = message
            log.error("reader %s: %s; what is left is not asked", self.name, message)

    async def _with_room(self, text: str) -> str:
        """The answer; one that is cut off is asked once more with more room."""
        room, more = _rooms(text, self.server, self.room)
        try:
            return await self._from_a_server(text, room)
        except _CutError:
            if more == room:
                raise
            return await self._from_a_server(text, more)

    async def _from_a_server(self, text: str, room: int) -> str:
        """The answer of the least busy server; where one fails, of the next."""
        tried: set[str] = set()
        last: Exception | None = None
        while (server := await self.pool.least_busy(tried)) is not None:
            # While others can answer, none is waited for; the last one is never left out.
            is_last = self.pool.is_last(tried, server)
            retries = self.server.max_retries if is_last else 0
            try:
                with server.busy():
                    return await self._once(server, text, room, retries)
            except _TransientError as error:
                last = error
                tried.add(server.url)
                if error.is_server and server.down is None and not is_last:
                    server.mark_down(str(error))
                    log.warning("reader %s: %s; it is left out until it answers again", self.name, error)
        if last is None:
            last = _TransientError("; ".join(s.down for s in self.pool.servers if s.down) or "no server is configured")
        raise last

    async def _once(self, server: Server, text: str, room: int, retries: int) -> str:
        import openai
        from openai.types.chat import ChatCompletion

        where = f"server {server.url}"
        client = server.client.with_options(max_retries=retries)
        try:
            # Posted as it is: the client's own walk over typed messages costs more than all the rest of a question.
            completion = await client.post("/chat/completions", cast_to=ChatCompletion, body=self._body(text, room))
        except openai.APITimeoutError as error:
            raise _TransientError(
                f"{where} gave no answer within {self.server.timeout_s:g} s (tried {retries + 1} times)", is_server=True
            ) from error
        except openai.APIConnectionError as error:
            reason = error_reason(error.__cause__ or error)
            raise _TransientError(
                f"{where} cannot be reached ({reason}): start it (`make vllm`) or correct base_url", is_server=True
            ) from error
        except openai.APIStatusError as error:
            raise await self._of_status(server, error, where, retries) from error
        except (openai.APIError, ValueError) as error:
            raise _TransientError(f"{where} sent no answer that can be read ({error_reason(error)})") from error
        return self._content(completion, where, room)

    def _body(self, text: str, room: int) -> dict[str, Any]:
        return {
            "model": self.server.model,
            "messages": self.prompt.messages(text),
            **({} if self.format is None else {"response_format": self.format}),
            "max_tokens": room,
            **self.server.sampling,
        }

    def _content(self, completion: Any, where: str, room: int) -> str:
        choices = getattr(completion, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise _PermanentError(f"{where} sent an answer without choices: is it OpenAI-compatible?")
        content: str = choices[0].message.content or ""
        if choices[0].finish_reason == "length":
            raise _CutError(room, content)
        return content

    async def _of_status(
        self, server: Server, error: "openai.APIStatusError", where: str, retries: int
    ) -> _PermanentError | _TransientError:
        message = f"{where} answered {error.status_code}: {short(_message_of(error))}"
        if error.status_code in (408, 409, 425, 429) or error.status_code >= 500:
            return _TransientError(f"{message} (tried {retries + 1} times)")
        if error.status_code == 404:
            return _PermanentError(f"{message}; {await self._models(server)}", stops_all=True)
        if error.status_code in (401, 403):
            return _PermanentError(f"{message}: set the environment variable that api_key_env names", stops_all=True)
        return _PermanentError(message)

    async def _models(self, server: Server) -> str:
        try:
            names = [m.id async for m in server.client.models.list()]
        except Exception:  # only a help in an error that is raised anyway
            return f"model {self.server.model!r} is not there"
        has = ", ".join(names) or "none"
        return f"model {self.server.model!r} is not there, the server has {has}: correct model in the readers' file"

    def report(self, *, is_last: bool = False) -> None:
        """Logs and passes on how far the run is, not more often than a log can be read."""
        now = time.monotonic()
        if not is_last and now - self.logged < _LOG_EVERY_S:
            return
        self.logged = now
        if self.progress is not None:
            self.progress(self.n_done, self.total)
        log.info(
            "reader %s: %d of %d questions, %d of them from the cache, %d failed, %.1f asked a second",
            self.name,
            self.n_done,
            self.total,
            self.n_cached,
            self.n_failed,
            (self.n_done - self.n_cached) / max(now - self.began, 1e-9),
        )


def _message_of(error: "openai.APIStatusError") -> str:
    body = error.body
    if isinstance(body, Mapping):
        body = body.get("message") or body.get("error") or body.get("detail") or body
    return str(body or error.response.text or error)
