"""How far a stage is: step, loss, rate and time left; a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_S = 10.0
"""Seconds between two lines where there is no terminal."""


class StageProgress:
    """A bar that is kept up to date while a stage trains, on standard error; where that is no terminal, a line where
    the stage begins, one every 10 s, and one at its end.

    Args:
        stage: its name.
        console: where it is drawn; None: standard error.
    """

    def __init__(self, stage: str, console: Console | None = None) -> None:
        self._stage, self._last, self._first_step, self._n_steps = stage, "", 0, 0
        self._began = self._last_line = time.monotonic()
        self._progress = Progress(
            TextColumn(stage),
            BarColumn(bar_width=20),
            TextColumn("step {task.completed}/{task.total}, loss {task.fields[loss]}, {task.fields[rate]} samples/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console or Console(file=sys.stderr),
            transient=True,
        )
        self._shows = self._progress.console.is_terminal
        self._task = self._progress.add_task("", total=None, loss="-", rate="-")

    def __enter__(self) -> Self:
        if self._shows:
            self._progress.start()
        else:
            self._print("reads samples and weights")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._shows:
            self._progress.stop()
        elif self._last:
            self._print(self._last)

    def begin(self, first_step: int, total: int) -> None:
        """The steps that are done, and all."""
        self._first_step, self._n_steps, self._began = first_step, total, time.monotonic()
        self._progress.update(self._task, completed=first_step, total=total)

    def step(self, entry: Mapping[str, float]) -> None:
        """Takes a step's entry of the log."""
        shown = {"loss": f"{entry['loss']:.3f}", "rate": f"{entry['samples_per_s']:.3g}"}
        step = int(entry["step"])
        self._progress.update(self._task, completed=step, **shown)  # type: ignore[arg-type]  # fields
        if self._shows:
            return
        now = time.monotonic()
        left_s = (now - self._began) * (self._n_steps - step) / max(1, step - self._first_step)
        self._last = (
            f"step {step}/{self._n_steps}, loss {shown['loss']}, {shown['rate']} samples/s, {left_s:.0f} s left"
        )
        if now - self._last_line >= _LINE_EVERY_S:
            self._print(self._last)

    def _print(self, words: str) -> None:
        """Prints a line, and takes it as printed."""
        self._last_line, self._last = time.monotonic(), ""
        # Plain, whatever the width: a log is not wrapped.
        self._progress.console.out(f"{self._stage}: {words}", highlight=False)
