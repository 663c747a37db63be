"""Review pages as one HTML file: a template with the shared style and script."""

from pathlib import Path

_SHARED = {"/* page.css */": Path(__file__).with_name("page.css"), "/* page.js */": Path(__file__).with_name("page.js")}


def render(template: Path) -> bytes:
    """The page of a template: each of its lines `/* page.css */` and `/* page.js */` replaced by that file.

    Raises:
        ValueError: the template lacks one of the lines, or has it twice.
    """
    text = template.read_text(encoding="utf-8")
    for line, path in _SHARED.items():
        if text.count(line) != 1:
            raise ValueError(f"{template}: expected one line {line!r}, got {text.count(line)}: put it where it belongs")
        text = text.replace(line, path.read_text(encoding="utf-8").strip("\n"))
    return text.encode()
