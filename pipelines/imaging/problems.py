"""The error of the imaging layer: an exam (or a part of it) that cannot be used, with its reason."""

import traceback
from pathlib import Path

from pipelines.tables.exam_problems import ExamProblem

_PACKAGE = Path(__file__).resolve().parents[2]


class ExamError(Exception):
    """An exam gives no volume: `problem` is the reason of the closed set, the message says what to do about it."""

    def __init__(self, problem: ExamProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message

    def __reduce__(self) -> tuple[type["ExamError"], tuple[ExamProblem, str]]:
        return (type(self), (self.problem, self.message))


def place_of(error: BaseException) -> str:
    """The innermost line of ours that an exception passed, as "pipelines.imaging.volume:120"."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(_PACKAGE)]
    if not ours:
        return "a library"
    return f"{'.'.join(Path(ours[-1].filename).relative_to(_PACKAGE).with_suffix('').parts)}:{ours[-1].lineno}"
