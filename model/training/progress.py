"""How far a stage is, on a terminal: step, loss, rate and time left."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class StageProgress:
    """A line that is kept up to date while a stage trains, on standard error; nothing where that is no terminal.

    Args:
        stage: its name.
        console: where it is drawn; None: standard error.
    """

    def __init__(self, stage: str, console: Console | None = None) -> None:
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
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._shows:
            self._progress.stop()

    def begin(self, first_step: int, total: int) -> None:
        """The steps that are done, and all."""
        self._progress.update(self._task, completed=first_step, total=total)

    def step(self, entry: Mapping[str, float]) -> None:
        """Takes a step's entry of the log."""
        shown = {"loss": f"{entry['loss']:.3f}", "rate": f"{entry['samples_per_s']:.3g}"}
        self._progress.update(self._task, completed=int(entry["step"]), **shown)  # type: ignore[arg-type]  # fields
