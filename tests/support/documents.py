"""Code in the pages of docs/."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

_FENCED = re.compile(r"^(?P<indent>[ ]*)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str


def blocks(page: Path, languages: Sequence[str] = ("sh", "python")) -> list[Block]:
    """The blocks of a page in the given languages, in their order."""
    found = [Block(m["language"], dedent(m["text"])) for m in _FENCED.finditer(page.read_text())]
    return [block for block in found if block.language in languages]
