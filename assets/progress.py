"""How far a curation is: a bar on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.tables.shards import N_SHARDS

_LINE_EVERY_S = 10.0
"""Seconds between two lines where there is no terminal."""


class CurationProgress:
    """Counts the shards and exams of a curation while they are done.

    Args:
        n_shards: stale shards, 0 to 64.
        n_exams: exams of these shards; those whose rows are reused count too.
    """

    def __init__(self, n_shards: int, n_exams: int) -> None:
        self._progress = Progress(
            TextColumn("curate"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} shards, {task.fields[exams]} exams"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._n_shards, self._n_exams = n_shards, n_exams
        self._shards = self._exams = 0
        self._on_terminal = n_shards > 0 and self._progress.console.is_terminal
        self._task = self._progress.add_task("", total=n_shards, exams=f"0/{n_exams}")
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        print(f"curate: {self._n_shards} of {N_SHARDS} shards to do", flush=True)
        if self._on_terminal:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._on_terminal:
            self._progress.stop()

    def advance(self, shards: int, exams: int) -> None:
        """Counts shards that are done, with the exams in them."""
        self._shards += shards
        self._exams += exams
        done = f"{self._exams}/{self._n_exams}"
        self._progress.update(self._task, completed=self._shards, exams=done)
        now = time.monotonic()
        if not self._on_terminal and now - self._last_line > _LINE_EVERY_S:
            self._last_line = now
            line = f"curate: {self._shards}/{self._n_shards} shards, {done} exams, {now - self._started:.0f} s"
            print(line, flush=True)
