"""How tests are written: through public names, with shared helpers imported from tests.support."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("assets", "benchmarks", "model", "pipelines")
MODULES = sorted((ROOT / "tests").rglob("*.py"))


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def private_uses(tree: ast.Module) -> Iterator[str]:
    """Private names of our packages that a module imports, reads of an imported module, or names in a string."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            modules |= {alias.asname or alias.name for alias in node.names}
            yield from (f"{node.module}.{alias.name}" for alias in node.names if is_private(alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in modules and is_private(node.attr):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            named = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            yield from (name for name in named if is_private(name))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_tests_use_public_names_and_ordinary_imports(path: Path) -> None:
    source = path.read_text()
    assert list(private_uses(ast.parse(source))) == []
    if path != Path(__file__):
        assert "spec_from_file_location" not in source
        assert "sys.path" not in source


def test_private_names_are_found() -> None:
    source = (
        "from pipelines.tables import lake, _hidden\n"
        "lake._read()\n"
        "monkeypatch.setattr(lake, '_write', None)\n"
        "monkeypatch.setattr('model.x._y', 1)\n"
        "lake.__file__\n"
    )
    found = ["pipelines.tables._hidden", "lake._read", "_write", "model.x._y"]
    assert set(private_uses(ast.parse(source))) == set(found)
