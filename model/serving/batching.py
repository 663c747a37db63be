"""A queue in front of the model: questions that wait are answered together, in one batch, by one thread."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class QueueFullError(RuntimeError):
    """More questions wait than the queue holds."""


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of the queue."""

    batch_size: int = 16
    """Questions in a batch at most."""
    waiting: int = 64
    """Questions that may wait."""
    gather_s: float = 0.25
    """How long the first question of a batch waits at most for those whose images are being read [s]."""


@dataclass(frozen=True)
class _Waiting(Generic[A, B]):
    question: A
    answer: "Future[B]" = field(default_factory=Future)


class Batcher(Generic[A, B]):
    """Answers questions in batches with `answer`, a function of a list; the thread that calls it starts at the first.

    A batch is what waits when the model is free. While the images of further questions are being read (`coming`), the
    first waits for them, at most `gather_s`: alone it waits for nobody.
    """

    def __init__(self, answer: Callable[[Sequence[A]], Sequence[B]], limits: BatchLimits = BatchLimits()) -> None:
        self._answer, self._limits = answer, limits
        self._queue: Queue[_Waiting[A, B]] = Queue(limits.waiting)
        self._coming = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Around the work before a question can be asked."""
        with self._lock:
            self._coming += 1
        try:
            yield
        finally:
            with self._lock:
                self._coming -= 1

    def ask(self, question: A) -> "Future[B]":
        """The answer to come; cancelled, it is not computed if it has not begun. Raises QueueFullError."""
        asked: _Waiting[A, B] = _Waiting(question)
        try:
            self._queue.put_nowait(asked)
        except Full:
            raise QueueFullError(f"{self._limits.waiting} questions wait already") from None
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="model", daemon=True)
                self._thread.start()
        return asked.answer

    def _run(self) -> None:
        while True:
            batch = self._gather()
            wanted = [one for one in batch if one.answer.set_running_or_notify_cancel()]
            if not wanted:
                continue
            try:
                answers = self._answer([one.question for one in wanted])
            except Exception as error:
                for one in wanted:
                    one.answer.set_exception(error)
            else:
                for one, answer in zip(wanted, answers, strict=True):
                    one.answer.set_result(answer)

    def _gather(self) -> list[_Waiting[A, B]]:
        batch = [self._queue.get()]
        deadline = time.monotonic() + self._limits.gather_s
        while len(batch) < self._limits.batch_size:
            left = deadline - time.monotonic()
            try:
                # What is there is taken; what is coming is waited for in short steps, for it may fail.
                batch.append(
                    self._queue.get(timeout=min(left, 0.01)) if self._coming and left > 0 else self._queue.get_nowait()
                )
            except Empty:
                if not self._coming or left <= 0:
                    break
        return batch
