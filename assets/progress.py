"""How far a curation is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections import Counter

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

    def begin(self, phase: str, n_shards: int, n_exams: int) -> None:
        """Starts a phase of so many stale shards (1 to 64), which hold so many exams."""
        self._phase, self._n_shards, self._n_exams = phase, n_shards, n_exams
        self._shards = self._exams = self._findings = 0
        self._begun: Counter[int] = Counter()
        self._started = self._last_line = time.monotonic()
        print(f"curate: {phase}: {n_exams} exams to look at", flush=True)
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
        """Ends the phase."""
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


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
