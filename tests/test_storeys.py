"""The storeys of the house: imports go down only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "pipelines": {"model", "assets", "dagster", "torch", "transformers", "monai"},
    "model": {"assets", "dagster"},
    "assets": set(),
}
MODULES = [path for storey in FORBIDDEN for path in sorted((ROOT / storey).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level names of all imports of a module, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    storey = path.relative_to(ROOT).parts[0]
    assert imported(path) & FORBIDDEN[storey] == set()


def test_no_asset_module_imports_torch_when_it_loads() -> None:
    offenders = []
    for path in sorted((ROOT / "assets").rglob("*.py")):
        tree = ast.parse(path.read_text())
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {a.name.split(".")[0] for n in top if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module.split(".")[0] for n in top if isinstance(n, ast.ImportFrom) and n.module}
        if "torch" in names:
            offenders.append(path.name)
    assert offenders == []
