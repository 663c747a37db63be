"""The servers behind one model: the least busy is asked, one that is down is left out until it answers again."""

import asyncio
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from pipelines.settings import Settings

if TYPE_CHECKING:
    # It takes a second to import, which a process without language models need not wait for.
    import openai

PROBE_EVERY_S = 5.0
"""Between two looks at whether a server that was down answers again; the health check of a load balancer's order."""
_CONNECT_S = 10.0


_sharing = 1


def share_limits(n_processes: int) -> None:
    """Has this process take its part of each server's `concurrency`, which so many processes share (at least 1)."""
    global _sharing
    _sharing = n_processes


@dataclass(frozen=True)
class ServerSettings:
    """Where a model is and how it is asked.

    `base_url` is one address or several; `concurrency` questions are in flight at each at once. The client of OpenAI
    tries a question `max_retries` times more where that may help. After `give_up_after` questions in a row have failed
    for good nothing more is asked, so that a run against dead servers, or with a schema that they refuse, ends.
    `max_tokens` is the most that an answer may have. `extra` goes into the body of every request.
    """

    model: str
    base_url: str | tuple[str, ...] = "http://127.0.0.1:8000/v1"
    api_key: str = field(default="EMPTY", repr=False)
    concurrency: int = 16
    timeout_s: float = 120.0
    max_retries: int = 5
    max_tokens: int = 2048
    give_up_after: int = 8
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Settings, **more: Any) -> Self:
        """The server that a table of settings describes, by the fields that are called alike; `more` goes before."""
        names = {one.name for one in fields(cls)} & set(type(table).model_fields)
        return cls(**{**table.model_dump(include=names, exclude_none=True), **more})

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    @property
    def in_flight(self) -> int:
        """Questions of this process that may be at each address at once: its share of `concurrency`."""
        return max(1, self.concurrency // _sharing)

    @property
    def sampling(self) -> dict[str, Any]:
        """How the model picks its words."""
        return {"temperature": 0.0, **self.extra}


@dataclass
class Server:
    """One address with its client, and how it does."""

    url: str
    client: "openai.AsyncOpenAI"
    in_flight: int = 0
    down: str | None = None
    """Why it is left out."""
    probe_at: float = 0.0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Counts a question as in flight."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def mark_down(self, why: str) -> None:
        """Leaves the server out until a probe finds it well."""
        self.down, self.probe_at = why, time.monotonic() + PROBE_EVERY_S

    async def is_well(self) -> bool:
        """Whether the server answers; one that is down is probed at most every few seconds."""
        if self.down is None:
            return True
        if time.monotonic() < self.probe_at:
            return False
        self.probe_at = time.monotonic() + PROBE_EVERY_S
        try:
            await self.client.with_options(max_retries=0, timeout=_CONNECT_S).models.list()
        except Exception:  # whatever it is, the server is not well
            return False
        self.down = None
        return True


class ServerPool:
    """The servers of one model, for the questions of one call."""

    def __init__(self, settings: ServerSettings) -> None:
        self.servers = [Server(url, _client(url, settings)) for url in settings.urls]

    async def least_busy(self, without: Collection[str]) -> Server | None:
        """The server with the fewest questions in flight among those that are well and not in `without`."""
        well = [s for s in self.servers if s.url not in without and await s.is_well()]
        return min(well, key=lambda s: s.in_flight, default=None)

    def is_last(self, without: Collection[str], server: Server) -> bool:
        """Whether no other server could be asked instead."""
        return not any(s.down is None and s is not server and s.url not in without for s in self.servers)


# --- one loop and one client an address for the whole process, so that connections are kept --------------------------

_loops: dict[int, asyncio.AbstractEventLoop] = {}
_clients: dict[tuple[Any, ...], "openai.AsyncOpenAI"] = {}
_lock = threading.Lock()


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop in which this process asks its questions, running in a thread of its own."""
    with _lock:
        if os.getpid() not in _loops:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="questions", daemon=True).start()
            _loops[os.getpid()] = loop
        return _loops[os.getpid()]


def _client(url: str, settings: ServerSettings) -> "openai.AsyncOpenAI":
    import openai

    key = (os.getpid(), url, settings.api_key, settings.timeout_s, settings.max_retries)
    with _lock:
        if key not in _clients:
            timeout = openai.Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s))
            _clients[key] = openai.AsyncOpenAI(
                base_url=url, api_key=settings.api_key, timeout=timeout, max_retries=settings.max_retries
            )
        return _clients[key]
