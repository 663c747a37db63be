"""What a kind of input is, and the error of a reader that gives what it may not."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class WrongResultError(AssertionError):
    """A reader gave something that its contract does not allow."""


Files = dict[str, bytes]
"""Files of a case by their names."""


@dataclass(frozen=True)
class Input:
    """A kind of input: `make` writes the files of a case, `read` reads their folder and gives the number of rows."""

    name: str
    n_cases: int
    make: Callable[[random.Random], Files]
    read: Callable[[Path], int]
    errors: tuple[type[Exception], ...]
