"""Review pages as one HTML file: a template with the shared style and scripts."""

import re
from pathlib import Path

_SHARED = ("page.css", "page.js")
_INCLUDED = re.compile(r"(?:/\*|<!--) ([a-z]+\.(?:css|js|html)) (?:\*/|-->)")


def render(template: Path) -> bytes:
    """The page of a template: each of its lines `/* page.css */`, `/* page.js */`, `<!-- answers.html -->` and the like
    replaced by that file of this folder.

    Raises:
        ValueError: the template lacks one of the two shared files, or has a file twice, or names one that is not there.
    """
    text = template.read_text(encoding="utf-8")
    names = _INCLUDED.findall(text)
    for name in {*_SHARED, *names}:
        if names.count(name) != 1:
            raise ValueError(f"{template}: expected one line for {name}, got {names.count(name)}: put it in its place")
        if not Path(__file__).with_name(name).is_file():
            raise ValueError(f"{template}: expected a file {name} beside this module, there is none: name another")
    return _INCLUDED.sub(
        lambda m: Path(__file__).with_name(m[1]).read_text(encoding="utf-8").strip("\n"), text
    ).encode()
