"""The storeys of the house: imports go down only."""

import ast
import subprocess
import sys
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


def test_what_every_run_loads_holds_nothing_heavy_that_few_runs_use() -> None:
    """Each run is a process that loads the definitions anew."""
    heavy = {"torch", "transformers", "monai", "matplotlib", "nltk", "sacrebleu", "rouge_score", "openai", "highdicom"}
    script = "import sys, assets.definitions; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "dagster" in loaded.stdout.split()
    assert heavy & set(loaded.stdout.split()) == set()
