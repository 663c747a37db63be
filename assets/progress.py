"""How far a curation is: a bar on a terminal, a line now and then elsewhere; and which step another run is at."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.curation.shard_work import ExamAt

_LINE_EVERY_S = 10.0
"""Seconds between two lines where there is no terminal."""
_PACED_BY = ("exams", "lesions", "candidates")
"""The table of each phase whose exams take its time."""


class Unwatched:
    """Tells nobody: for runs of the UI, which shows the events of each shard."""

    def begin(self, phase: str, n_shards: int, n_exams: int) -> None:
        """Nothing."""

    def at(self, at: ExamAt) -> None:
        """Nothing."""

    def advance(self, shard: int, n_exams: int, n_findings: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class CurationProgress:
    """Counts the exams, shards and findings of a curation while they are done; exams whose rows are reused count when
    their shard is done.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._is_telling = False

    @property
    def is_telling(self) -> bool:
        """Whether a phase is begun and not ended."""
        return self._is_telling

    def begin(self, phase: str, n_shards: int, n_exams: int) -> None:
        """Starts a phase of so many stale shards (1 to 64), which hold so many exams."""
        self._is_telling = True
        self._phase, self._n_shards, self._n_exams = phase, n_shards, n_exams
        self._shards = self._exams = self._findings = 0
        self._begun: Counter[int] = Counter()
        self._started = self._last_line = time.monotonic()
        print(f"curate: {phase}: {n_exams} exams", flush=True)
        progress = Progress(
            TextColumn("curate: {task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
        )
        if progress.console.is_terminal:
            self._progress = progress
            self._task = progress.add_task(phase, total=n_exams, state=self._state())
            progress.start()

    def at(self, at: ExamAt) -> None:
        """Counts an exam that is begun."""
        if at.table in _PACED_BY:
            self._begun[at.shard] += 1
            self._show()

    def advance(self, shard: int, n_exams: int, n_findings: int) -> None:
        """Counts a shard that is done, with the exams and findings in it."""
        self._begun.pop(shard, None)
        self._shards += 1
        self._exams += n_exams
        self._findings += n_findings
        self._show()

    def end(self) -> None:
        """Ends the phase; a last line where lines were printed."""
        self._is_telling = False
        if self._progress is None and self._last_line > self._started:
            print(f"curate: {self._phase}: {self._state()}", flush=True)
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _done(self) -> int:
        """Exams that are done: of the shards in hand all that were begun but the last one of each."""
        return min(self._n_exams, self._exams + sum(n - 1 for n in self._begun.values()))

    def _state(self) -> str:
        done, elapsed_s = self._done(), time.monotonic() - self._started
        found = [f"{done}/{self._n_exams} exams"]
        if done == self._n_exams and self._shards < self._n_shards:
            # Shards without exams have tables, too.
            found.append(f"tables of {self._shards}/{self._n_shards} shards written")
        elif done and elapsed_s:
            left_s = elapsed_s * (self._n_exams - done) / done
            found += [f"{done / elapsed_s:.2g} exams/s", f"{duration(left_s)} left"]
        return ", ".join([*found, f"{self._findings} findings"])

    def _show(self) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=self._done(), state=self._state())
        elif (now := time.monotonic()) - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            print(f"curate: {self._phase}: {self._state()}", flush=True)


class Heartbeat:
    """While it is entered, a line on standard error now and then that names the step in hand.

    Args:
        label: what runs.
        step: the step in hand; null where nothing is to be said.
        first_s: seconds until the first line.
        every_s: seconds between two lines.
    """

    def __init__(self, label: str, step: Callable[[], str | None], first_s: float = 8.0, every_s: float = 30.0) -> None:
        self._label, self._step = label, step
        self._first_s, self._every_s = first_s, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._say, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _say(self) -> None:
        started, wait_s = time.monotonic(), self._first_s
        while not self._ended.wait(wait_s):
            wait_s = self._every_s
            if (step := self._step()) is not None:
                where = self._label if step == self._label else f"{self._label}: {step}"
                print(f"{where}, {duration(time.monotonic() - started)} so far", file=sys.stderr, flush=True)


def every(seconds: float) -> Callable[[str], None]:
    """A function that prints a line where the last one that it printed, or its making, is so many seconds ago."""
    last = time.monotonic()

    def say(words: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= seconds:
            last = now
            print(words, flush=True)

    return say


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
