"""Lines of code without blanks, comments and docstrings: python -m benchmarks.loc [FOLDER].

Counted are the physical lines that hold a token of a Python file of each package. Data files and tests are not.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

PACKAGES = ("pipelines", "model", "assets", "benchmarks")
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def count(source: str) -> int:
    """Lines of code of one module."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        # Docstrings, and the strings that stand below a constant or field to describe it.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def main(root: Path) -> None:
    """Prints the lines of each package below a checkout, and their sum."""
    counts = {name: sum(count(path.read_text()) for path in (root / name).rglob("*.py")) for name in PACKAGES}
    for name, n in {**counts, "total": sum(counts.values())}.items():
        print(f"{name:<12}{n:>7,}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
