"""The error of a wrong file of the vocabulary."""

from collections.abc import Iterable
from pathlib import Path


class VocabularyError(ValueError):
    """A row of `cues.toml` or `lexicon.csv` is wrong; the message names file, line, column and what is allowed."""

    def __init__(self, path: Path, line: int, column: int, expected: str, got: object, do: str) -> None:
        super().__init__(f"expected {expected}, got {got!r}, in {path}, line {line}, column {column}: {do}")


def one_of(allowed: Iterable[str]) -> str:
    """The allowed values as the errors name them."""
    return "one of " + ", ".join(sorted(allowed))
