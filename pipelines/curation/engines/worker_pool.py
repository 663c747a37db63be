"""A pool of processes. One that dies costs its own task alone: it is replaced, and the task is tried again."""

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from pipelines.curation.shard_work import ExamAt, Reporter, ignore
from pipelines.curation.stages.stopping import request_stop, stop_is_requested
from pipelines.reports.llm.servers import share_limits

T = TypeVar("T")

MOST_TRIES = 3
"""Of a task whose process died."""

_LOOK_EVERY_S = 0.2
"""Between two looks at whether a stop was asked for."""
_END_WITHIN_S = 20.0
"""Seconds that an idle process has to end."""
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Variables by which libraries choose their number of threads, read when they are imported."""


@dataclass(frozen=True)
class LocalReporter:
    """The reporter of a task that runs in the caller's own process."""

    log: logging.Logger
    at: Callable[[ExamAt], None]


@dataclass(frozen=True)
class Task(Generic[T]):
    """A call for a worker: what it is called in messages, a function that can be pickled, and the caller's key."""

    name: str
    call: Callable[[Reporter], T]
    key: int = 0


@dataclass(frozen=True)
class Finished(Generic[T]):
    """A task with its value, or with the error that it raised."""

    task: Task[T]
    value: T | None = None
    error: Exception | None = None


class WorkerDiedError(RuntimeError):
    """Every process that was given a task died; the message names the task and what it was at."""


def run_here(
    tasks: Iterable[Task[T]], log: logging.Logger, at: Callable[[ExamAt], None] = ignore
) -> Iterator[Finished[T]]:
    """The same as `WorkerPool.run`, one after the other in this process."""
    for task in tasks:
        if stop_is_requested():
            return
        try:
            yield Finished(task, task.call(LocalReporter(log, at)))
        except Exception as error:
            yield Finished(task, error=error)


class WorkerPool:
    """Processes of a fork server that has imported `preload`: fork alone is unsafe beside polars and numba, and a fresh
    interpreter costs seconds of imports.

    Args:
        n_workers: processes, at least 1.
        preload: modules that the fork server imports before it forks.
        log: gets what the tasks log.
        at: is told of each exam that is begun.
    """

    def __init__(
        self, n_workers: int, preload: Sequence[str], log: logging.Logger, at: Callable[[ExamAt], None] = ignore
    ) -> None:
        self._n_workers, self._log, self._at = n_workers, log, at
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        with _threads_of(self._n_workers):
            forkserver.ensure_running()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self._workers:
            worker.end(at_once=error is not None)
        self._workers = []

    def run(self, tasks: Sequence[Task[T]]) -> Iterator[Finished[T]]:
        """Every task as it is finished; after a request to stop only those that have begun."""
        waiting, tries = deque(tasks), Counter[int]()
        while True:
            if stop_is_requested():
                waiting.clear()
                for worker in self._workers:
                    worker.ask_to_stop()
            idle = [worker for worker in self._workers if worker.task is None]
            while waiting and (idle or len(self._workers) < self._n_workers):
                worker = idle.pop() if idle else self._started()
                worker.give(waiting.popleft())
            busy = {worker.connection: worker for worker in self._workers if worker.task is not None}
            if not busy:
                return
            for ready in connections.wait(list(busy), timeout=_LOOK_EVERY_S):
                worker = busy[ready]  # type: ignore[index]  # what was waited for
                task = worker.task
                assert task is not None
                try:
                    finished = worker.receive(self._log, self._at)
                except (EOFError, OSError):
                    self._workers.remove(worker)
                    tries[id(task)] += 1
                    words = worker.obituary()
                    if tries[id(task)] < MOST_TRIES and not stop_is_requested():
                        self._log.warning("%s: %s; it is tried again", task.name, words)
                        waiting.append(task)
                        continue
                    finished = Finished(task, error=WorkerDiedError(f"{task.name}: {words}, {_TO_DO}"))
                if finished is not None:
                    yield finished

    def _started(self) -> "_Worker":
        worker = _Worker.start(self._context, self._n_workers)
        self._workers.append(worker)
        return worker


_TO_DO = (
    f"the last of {MOST_TRIES} processes: see whether memory ran out (fewer workers: --workers), or leave that exam out"
)


class _Worker:
    """A process, seen from the one that gives it tasks."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self.process, self.connection = process, connection
        self.task: Task[Any] | None = None
        self._at: ExamAt | None = None
        self._is_stopped = False

    @classmethod
    def start(cls, context: Any, n_workers: int) -> "_Worker":
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, dict(os.environ), n_workers), daemon=True)
        process.start()
        # With the last copy here closed, the end of the process is the end of the stream.
        theirs.close()
        return cls(process, ours)

    def give(self, task: Task[Any]) -> None:
        self.task, self._at = task, None
        with suppress(OSError):  # It died while it was idle; that is seen when it is waited for.
            self.connection.send(("task", task.call))

    def ask_to_stop(self) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            with suppress(OSError):
                self.connection.send(("stop", None))

    def receive(self, log: logging.Logger, at: Callable[[ExamAt], None]) -> Finished[Any] | None:
        """What became of the task; null where the process only told something. EOFError where it died."""
        kind, value = self.connection.recv()
        task = self.task
        assert task is not None
        match kind:
            case "at":
                self._at = value
                at(value)
                return None
            case "log":
                log.log(value[0], "%s", value[1])
                return None
            case "error":
                self.task = None
                return Finished(task, error=value)
            case _:
                self.task = None
                return Finished(task, value)

    def obituary(self) -> str:
        """How the process ended, in words."""
        self.connection.close()
        self.process.join(_END_WITHIN_S)
        code = self.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"its process died ({how}){f' at {self._at}' if self._at else ''}"

    def end(self, *, at_once: bool) -> None:
        if at_once or self.task is not None:
            self.process.kill()
        else:
            with suppress(OSError):
                self.connection.send(("end", None))
        self.process.join(_END_WITHIN_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(_END_WITHIN_S)
        self.connection.close()


# --- inside of a worker ---


class _Remote:
    """The reporter of a task in a worker."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self.log = logging.Logger("petar.worker", logging.INFO)
        self.log.addHandler(_Forwarding(self))

    def send(self, kind: str, value: object) -> None:
        """Tells the process that gave the task."""
        with self._lock:
            self._connection.send((kind, value))

    def at(self, at: ExamAt) -> None:
        self.send("at", at)


class _Forwarding(logging.Handler):
    """Puts lines of a log into the log of the process that gave the task."""

    def __init__(self, remote: _Remote) -> None:
        super().__init__()
        self._remote = remote

    def emit(self, record: logging.LogRecord) -> None:
        self._remote.send("log", (record.levelno, record.getMessage()))


def _serve(connection: Connection, environment: Mapping[str, str], n_workers: int) -> None:
    """The life of one of so many workers: task after task until it is told to end, or until whoever gives them is
    gone.
    """
    share_limits(n_workers)
    # A Ctrl-C reaches the whole group of the terminal; the process that gives the tasks decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)
    tasks: SimpleQueue[Callable[[Reporter], Any] | None] = SimpleQueue()

    def listen() -> None:
        while True:
            try:
                kind, call = connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            if kind == "stop":
                request_stop()
            else:
                tasks.put(call)

    threading.Thread(target=listen, daemon=True).start()
    remote = _Remote(connection)
    while (call := tasks.get()) is not None:
        try:
            kind, value = "value", call(remote)
        except Exception as error:
            kind, value = "error", portable(error)
        try:
            remote.send(kind, value)
        except OSError:
            os._exit(1)
    # Libraries with threads of their own need seconds to be taken down.
    os._exit(0)


def portable(error: Exception) -> Exception:
    """The error, or one of the same words where it does not survive the way to another process."""
    try:
        return error if type(pickle.loads(pickle.dumps(error))) is type(error) else RuntimeError(str(error))
    except Exception:  # whatever its constructor needs
        return RuntimeError(f"{type(error).__name__}: {error}")


@contextmanager
def _threads_of(n_workers: int) -> Iterator[None]:
    """The environment in which libraries start as many threads as there are cores for each worker."""
    each = str(max(1, len(os.sched_getaffinity(0)) // n_workers))
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update({name: each for name in THREADS if not before[name]})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
