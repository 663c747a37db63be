"""Many questions to one model on an OpenAI-compatible server: bounded in flight, retried where it helps, cached, and
none ever lost.
"""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, Self

from pipelines.reports.llm.answer_format import short
from pipelines.reports.llm.answers import AnswerCache, CacheError, answer_key
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.settings import Settings
from pipelines.tables.hashing import hash_of

if TYPE_CHECKING:
    # It takes a second to import, which a process without language models need not wait for.
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
_RETRIED_STATUS = frozenset((408, 409, 425, 429, 500, 502, 503, 504))


@dataclass(frozen=True)
class ServerSettings:
    """Where a model is and how it is asked.

    `concurrency` questions are in flight at once. A question is tried `max_retries` times more where it may help, after
    waits that double from `backoff_s` up to `backoff_max_s`. After `give_up_after` questions in a row have failed for
    good the server is taken to be down, and what is left fails at once with the same reason, so that a run against a
    dead server ends. `extra` goes into the body of every request.
    """

    model: str
    base_url: str = "http://127.0.0.1:8000/v1"
    api_key: str = field(default="EMPTY", repr=False)
    concurrency: int = 16
    timeout_s: float = 120.0
    max_retries: int = 5
    backoff_s: float = 0.5
    backoff_max_s: float = 15.0
    max_tokens: int = 1024
    give_up_after: int = 8
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Settings, **more: Any) -> Self:
        """The server that a table of settings describes, by the fields that are called alike; `more` goes before."""
        names = {one.name for one in fields(cls)} & set(type(table).model_fields)
        return cls(**{**table.model_dump(include=names, exclude_none=True), **more})

    @property
    def sampling(self) -> dict[str, Any]:
        """How the model picks its words. `max_tokens` has no say: an answer that it cut off is not kept."""
        return {"temperature": 0.0, **self.extra}


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
    """What cuts a sentence into parts, and bears or refuses an answer."""

    @property
    def asked(self) -> str:
        """Model, prompt and sampling: what an answer depends on beside the text."""
        return f"{self.server.model}/{self.prompt.version}/sampling@{hash_of(self.server.sampling)[:8]}"

    def ask(self, texts: Sequence[str], check: Check, progress: Progress | None = None) -> list[Answer]:
        """One answer a text, in the order of the texts (see `ask_all`)."""
        return ask_all(self.server, self.prompt, texts, self.cache, check, name=self.name, progress=progress)


class _PermanentError(Exception):
    """A failure that no retry changes. `stops_all` where every other question would meet it too."""

    def __init__(self, message: str, *, stops_all: bool = False, raw: str | None = None) -> None:
        super().__init__(message)
        self.stops_all = stops_all
        self.raw = raw


class _TransientError(Exception):
    """A failure that a retry may mend; `wait_s` where the server said how long to wait."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def ask_all(
    server: ServerSettings,
    prompt: Question,
    texts: Sequence[str],
    cache: AnswerCache | None,
    check: Check,
    *,
    name: str,
    progress: Progress | None = None,
) -> list[Answer]:
    """One answer a text, in the order of the texts. Equal texts are asked once; answers that pass `check` are kept in
    the cache at once.

    Args:
        name: who asks, for the log and in errors.
        progress: called as (done, all) every few seconds and at the end.

    Never raises for what the server does: that becomes the answer's `error`.
    """
    if not texts:
        return []
    counts = Counter(texts)
    sampling = json.dumps(server.sampling, sort_keys=True)
    keys = {text: answer_key(server.model, prompt.version, prompt.schema_text, sampling, text) for text in counts}
    kept = cache.get(list(keys.values())) if cache is not None else {}
    found: dict[str, Answer] = {}
    for text, key in keys.items():
        if key in kept:
            # What a check of newer code refuses is not asked again: the model would say the same.
            problem = check(kept[key])
            found[text] = Answer(None if problem else kept[key], problem, kept[key], True)
    missing = [text for text in counts if text not in found]
    run = _Run(server, prompt, cache, check, name, keys, counts, sum(counts[t] for t in found), progress)
    if missing:
        found.update(_run_async(run, missing))
    run.report(is_last=True)
    return [found[t] for t in texts]


def _run_async(run: "_Run", texts: Sequence[str]) -> dict[str, Answer]:
    """Runs the questions in an event loop of their own, also where the caller's thread has a running one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run.ask(texts))
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run.ask(texts)).result()


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
        import openai

        found: dict[str, Answer] = {}
        queue = iter(texts)
        n_workers = max(1, min(self.server.concurrency, len(texts)))
        timeout = openai.Timeout(self.server.timeout_s, connect=min(10.0, self.server.timeout_s))
        async with openai.AsyncOpenAI(
            base_url=self.server.base_url,
            api_key=self.server.api_key,
            timeout=timeout,
            # Retries are counted, logged and bounded here, for all failures in the same way.
            max_retries=0,
        ) as client:
            await asyncio.gather(*(self._work(client, queue, found) for _ in range(n_workers)))
        return found

    async def _work(self, client: "openai.AsyncOpenAI", queue: Iterator[str], found: dict[str, Answer]) -> None:
        for text in queue:
            found[text] = answer = await self._answer(client, text)
            self.n_done += self.counts[text]
            self.n_failed += 0 if answer.error is None else self.counts[text]
            self.report()

    async def _answer(self, client: "openai.AsyncOpenAI", text: str) -> Answer:
        if self.stopped is not None:
            return Answer(None, self.stopped, None, False)
        raw: str | None = None
        try:
            raw = await self._with_retries(client, text)
        except _PermanentError as error:
            if error.stops_all:
                self._stop(str(error))
            return Answer(None, str(error), error.raw, False)
        except _TransientError as error:
            message = f"{error} (tried {self.server.max_retries + 1} times)"
            self.failures_in_a_row += 1
            if self.failures_in_a_row >= self.server.give_up_after:
                self._stop(message)
            return Answer(None, message, None, False)
        except Exception as error:  # one question's surprise must not lose the others
            log.exception("reader %s: unexpected failure", self.name)
            return Answer(None, f"unexpected {type(error).__name__}: {error}", raw, False)
        self.failures_in_a_row = 0
        if self.cache is not None:
            try:
                self.cache.put(self.keys[text], self.server.model, self.prompt.version, text, raw)
            except CacheError as error:
                # The answer is good; only a rerun will have to ask for it again.
                log.error("reader %s: %s", self.name, error)
        return Answer(raw, None, raw, False)

    def _stop(self, message: str) -> None:
        if self.stopped is None:
            self.stopped = message
            log.error("reader %s: %s; what is left is not asked", self.name, message)

    async def _with_retries(self, client: "openai.AsyncOpenAI", text: str) -> str:
        for attempt in range(self.server.max_retries + 1):
            try:
                return await self._once(client, text)
            except _TransientError as error:
                if attempt == self.server.max_retries or self.stopped is not None:
                    raise
                wait_s = error.wait_s if error.wait_s is not None else self.server.backoff_s * 2**attempt
                # Jitter, so that the questions in flight do not come back all at once.
                wait_s = min(wait_s, self.server.backoff_max_s) * random.uniform(0.75, 1.25)
                log.warning("reader %s: %s; again in %.1f s (%d)", self.name, error, wait_s, attempt + 1)
                await asyncio.sleep(wait_s)
        raise AssertionError("the loop returns or raises")

    async def _once(self, client: "openai.AsyncOpenAI", text: str) -> str:
        import openai
        from openai.types.chat import ChatCompletion

        where = f"server {self.server.base_url}"
        try:
            # Posted as it is: the client's own walk over typed messages costs more than all the rest of a question.
            completion = await client.post("/chat/completions", cast_to=ChatCompletion, body=self._body(text))
        except openai.APITimeoutError as error:
            raise _TransientError(f"{where} gave no answer within {self.server.timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            reason = str(error.__cause__ or error) or type(error).__name__
            raise _TransientError(
                f"{where} cannot be reached ({reason}): start it (`make vllm`) or correct base_url"
            ) from error
        except openai.APIStatusError as error:
            raise await self._of_status(client, error, where) from error
        except (openai.APIError, ValueError) as error:
            raise _TransientError(f"{where} sent no answer that can be read ({error})") from error
        return self._content(completion, where)

    def _body(self, text: str) -> dict[str, Any]:
        return {
            "model": self.server.model,
            "messages": self.prompt.messages(text),
            **({} if self.format is None else {"response_format": self.format}),
            "max_tokens": self.server.max_tokens,
            **self.server.sampling,
        }

    def _content(self, completion: Any, where: str) -> str:
        choices = getattr(completion, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise _PermanentError(
                f"{where} sent an answer without choices: is it OpenAI-compatible?", raw=str(completion)[:500]
            )
        content = choices[0].message.content or ""
        if choices[0].finish_reason == "length":
            raise _PermanentError(
                f"answer cut off after {self.server.max_tokens} tokens: {short(content)}", raw=content
            )
        problem = self.check(content)
        if problem is not None:
            raise _PermanentError(problem, raw=content)
        return content

    async def _of_status(self, client: "openai.AsyncOpenAI", error: "openai.APIStatusError", where: str) -> Exception:
        message = f"{where} answered {error.status_code}: {short(_message_of(error))}"
        if error.status_code in _RETRIED_STATUS or error.status_code >= 500:
            return _TransientError(message, _retry_after(error.response.headers))
        if error.status_code == 404:
            return _PermanentError(f"{message}; {await self._models(client)}", stops_all=True)
        if error.status_code in (401, 403):
            return _PermanentError(f"{message}: set the environment variable that api_key_env names", stops_all=True)
        return _PermanentError(message)

    async def _models(self, client: "openai.AsyncOpenAI") -> str:
        try:
            names = [m.id async for m in client.models.list()]
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


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None
