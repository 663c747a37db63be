"""The error of the imaging layer: an exam (or a part of it) that cannot be used, with its reason."""

from pipelines.tables.exam_problems import ExamProblem


class ExamError(Exception):
    """An exam gives no volume: `problem` is the reason of the closed set, the message says what to do about it."""

    def __init__(self, problem: ExamProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message

    def __reduce__(self) -> tuple[type["ExamError"], tuple[ExamProblem, str]]:
        return (type(self), (self.problem, self.message))
