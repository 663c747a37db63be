"""Import rules between all packages: layers import downwards only (docs/architecture.md)."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    "assets",
    "model.evaluation",
    "model.evaluation.reader_study",
    "model.evaluation.metrics",
    "model.readers",
    "model.serving",
    "model.training",
    "model.inputs",
    "model.petar",
    "pipelines.proposals",
    "pipelines.phantom",
    "pipelines.release",
    "pipelines.review",
    "pipelines.exports",
    "pipelines.followup",
    "pipelines.dataset",
    "pipelines.catalog",
    "pipelines.curation",
    "pipelines.curation.stages",
    "pipelines.imaging.candidates",
    "pipelines.imaging.lesions",
    "pipelines.imaging.reading",
    "pipelines.imaging",
    "pipelines.reports.llm",
    "pipelines.reports",
    "pipelines.reports.rules",
    "pipelines.reports.vocabulary",
    "pipelines.cohort.importers",
    "pipelines.cohort",
    "pipelines.cohort.privacy",
    "pipelines.tables",
    "pipelines.settings",
)
"""Top to bottom: a package imports itself and those below it; a name covers subpackages that are not listed."""
FORBIDDEN = {
    "assets": set(),
    "model": {"dagster"},
    "pipelines": {"dagster", "torch", "transformers", "monai"},
}
USES_PHANTOM = {
    *("assets.cli", "model.readers.examples"),
    *("pipelines.proposals.insertion", "pipelines.proposals.phantom_examples"),
}
"""Modules outside of tests and benchmarks that use the digital cohort: the demo, and what readers and the model of
proposals are trained on."""


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_name(path): path for top in FORBIDDEN for path in sorted((ROOT / top).rglob("*.py"))}


@cache
def imported(module: str) -> frozenset[str]:
    """Modules that a module imports, those inside of functions too; ours by full name, others by their first part."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: expected absolute imports, got a relative one"
            submodules = (f"{node.module}.{alias.name}" for alias in node.names)
            names |= {name if name in MODULES else str(node.module) for name in submodules}
    return frozenset(name if name in MODULES else name.split(".")[0] for name in names)


def layer_of(module: str) -> int | None:
    """Index in LAYERS of the most specific package that holds a module."""
    holding = [name for name in LAYERS if module == name or module.startswith(f"{name}.")]
    return LAYERS.index(max(holding, key=len)) if holding else None


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down_only(module: str) -> None:
    here = layer_of(module)
    ours = {name for name in imported(module) if name in MODULES}
    upward = {name for name in ours if here is not None and (layer_of(name) or 0) < here}
    assert upward == set()
    assert imported(module) & FORBIDDEN[module.split(".")[0]] == set()


def test_every_module_lies_in_a_layer() -> None:
    """Only `settings.py` lies at the top of pipelines/ and model/."""
    loose = {name for name in MODULES if layer_of(name) is None} - {"pipelines", "model"}
    assert loose == set()


def test_modules_import_in_no_circle() -> None:
    graph = {name: imported(name) & MODULES.keys() - {name} for name in MODULES}
    TopologicalSorter(graph).prepare()


def test_documented_layers_are_these() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().split("| package | holds | imports |")[1].split("\n\n")[0]
    assert tuple(line.split("`")[1] for line in table.splitlines() if "`" in line) == LAYERS


def test_only_the_demo_imports_the_phantom() -> None:
    phantom = {name for name in MODULES if name.startswith("pipelines.phantom")}
    assert {name for name in MODULES.keys() - phantom if imported(name) & phantom} == USES_PHANTOM


def test_definitions_load_no_library_that_only_some_runs_need() -> None:
    """Each run is a process that loads the definitions again."""
    heavy = {"torch", "transformers", "monai", "matplotlib", "nltk", "sacrebleu", "rouge_score", "openai", "highdicom"}
    script = "import sys, assets.definitions; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "dagster" in loaded.stdout.split()
    assert heavy & set(loaded.stdout.split()) == set()


def test_private_modules_of_dagster_are_imported_in_one_module() -> None:
    allowed = {Path("assets/dagster_internals.py"), Path("tests/assets/test_dagster_internals.py")}
    folders = ("assets", "benchmarks", "model", "pipelines", "tests")
    private = re.compile(r"^\s*(?:from|import) dagster\w*(?:\.\w+)*\._", re.MULTILINE)
    modules = {path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")}
    assert {path for path in modules if private.search((ROOT / path).read_text())} <= allowed
