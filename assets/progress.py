"""How far a curation is: a bar on a terminal, a line now and then elsewhere."""

import time

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.tables.shards import N_SHARDS

_LINE_EVERY_S = 10.0
"""Seconds between two lines where there is no terminal."""


class Unwatched:
    """Tells nobody: for runs of the UI, which shows the events of each shard."""

    def begin(self, n_shards: int, n_exams: int) -> None:
        """Nothing."""

    def advance(self, n_shards: int, n_exams: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class CurationProgress:
    """Counts the shards and exams of a curation while they are done; exams whose rows are reused count too."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def begin(self, n_shards: int, n_exams: int) -> None:
        """Starts a phase of so many stale shards (1 to 64), which hold so many exams."""
        self._n_shards, self._n_exams = n_shards, n_exams
        self._shards = self._exams = 0
        self._started = self._last_line = time.monotonic()
        print(f"curate: {n_shards} of {N_SHARDS} shards to do", flush=True)
        progress = Progress(
            TextColumn("curate"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} shards, {task.fields[exams]} exams"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        if progress.console.is_terminal:
            self._progress = progress
            self._task = progress.add_task("", total=n_shards, exams=f"0/{n_exams}")
            progress.start()

    def advance(self, n_shards: int, n_exams: int) -> None:
        """Counts shards that are done, with the exams in them."""
        self._shards += n_shards
        self._exams += n_exams
        done = f"{self._exams}/{self._n_exams}"
        if self._progress is not None:
            self._progress.update(self._task, completed=self._shards, exams=done)
        elif (now := time.monotonic()) - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            line = f"curate: {self._shards}/{self._n_shards} shards, {done} exams, {now - self._started:.0f} s"
            print(line, flush=True)

    def end(self) -> None:
        """Ends the phase."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
