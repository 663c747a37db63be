"""Versions of code: what makes which stage stale, and what makes none stale, on an edited copy of the sources."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.curation.run import TABLES, stage_code
from pipelines.tables.provenance import PLUMBING, SourceTree, code_version

ROOT = Path(__file__).parents[3]
STAGES = {
    "exams": "pipelines.curation.stages.exam_stage",
    "sentences": "pipelines.curation.stages.sentences_stage",
    "readings": "pipelines.curation.stages.readings_stage",
    "findings": "pipelines.curation.stages.findings_stage",
    "peaks": "pipelines.curation.stages.peaks_stage",
    "calibration": "pipelines.curation.stages.calibration_stage",
    "lesions": "pipelines.curation.stages.lesion_stage",
}
OTHERS = {
    "rules reader": "pipelines.reports.readers",
    "LLM reader": "pipelines.reports.llm.llm_reader",
    "identifiers": "pipelines.cohort.privacy.deidentification",
    "organ maps": "pipelines.dataset.organ_maps",
    "samples": "model.inputs.sample_table",
    "training": "model.training.train",
    "ablation": "model.evaluation.ablation.training",
    "texts": "model.serving.generation",
    "metrics": "model.evaluation.metrics",
    "robustness": "model.evaluation.robustness",
    "external set": "pipelines.dataset.external_set",
    "pictures": "pipelines.review.finding_pictures",
    "exports": "pipelines.exports.viewer_files",
}
ENTRIES = STAGES | OTHERS
REPORTS = {"sentences", "readings", "findings", "rules reader", "LLM reader"}
LEARNT = {"training", "ablation"}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> SourceTree:
    folder = tmp_path_factory.mktemp("sources")
    for name in ("pipelines", "model"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return SourceTree(folder)


@pytest.fixture
def edited(copied: SourceTree) -> Iterator["Edits"]:
    edits = Edits(copied)
    yield edits
    edits.undo()


class Edits:
    """Edits of a copy of the sources, and what they make stale."""

    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self.before = versions(tree)
        self.kept: dict[Path, bytes] = {}

    def write(self, name: str, content: str) -> None:
        path = self.tree.root / name
        self.kept.setdefault(path, path.read_bytes())
        path.write_text(content)

    def replace(self, name: str, pattern: str, by: str) -> None:
        content, n = re.subn(pattern, by, (self.tree.root / name).read_text(), count=1, flags=re.MULTILINE)
        assert n == 1, (name, pattern)
        self.write(name, content)

    def stale(self) -> set[str]:
        now = versions(self.tree)
        return {name for name in ENTRIES if now[name] != self.before[name]}

    def undo(self) -> None:
        for path, content in self.kept.items():
            path.write_bytes(content)
        self.kept.clear()


def versions(tree: SourceTree) -> dict[str, str]:
    return {name: tree.version(entry) for name, entry in ENTRIES.items()}


def sources(tree: SourceTree) -> list[Path]:
    return sorted(path for name in ("pipelines", "model") for path in (tree.root / name).rglob("*.py"))


def module_of(tree: SourceTree, path: Path) -> str:
    return ".".join(path.relative_to(tree.root).with_suffix("").parts).removesuffix(".__init__")


def source_of(tree: SourceTree, module: str) -> Path:
    return next(path for path in sources(tree) if module_of(tree, path) == module)


class TestStale:
    @pytest.mark.parametrize(
        ("name", "pattern", "by", "stale"),
        [
            ("pipelines/imaging/lesions/levels.py", r"^FWHM_TO_SIGMA = .*", "FWHM_TO_SIGMA = 0.8", {"lesions"}),
            ("pipelines/imaging/reading/suv.py", r"^GRAMS_ABOVE_KG = .*", "GRAMS_ABOVE_KG = 900.0",
             {"exams", "organ maps", "external set"}),
            ("pipelines/reports/structure.py", r"^SAME_SUV = .*", "SAME_SUV = 0.2",
             REPORTS | {"metrics", "robustness", "samples"} | LEARNT),
            ("pipelines/reports/alignment.py", r"^SUV_DECIMALS = .*", "SUV_DECIMALS = 1", {"findings"}),
            ("pipelines/reports/llm/answered_mentions.py", r"max\(1, ", "max(2, ", {"LLM reader"}),
            ("pipelines/tables/exam_problems.py", r"NO_PET = .*", "NO_PET = 'no PET'",
             {"exams", "peaks", "calibration", "lesions", "organ maps", "samples", "texts", "robustness",
              "external set", "pictures", "exports"} | LEARNT),
            ("model/training/schedule.py", r"math\.pi", "3.14", LEARNT),
            ("model/inputs/numbers.py", r"^import re$", "import re\n_MORE = 1",
             {"texts", "metrics", "robustness"} | LEARNT),
            ("model/evaluation/metrics/cider.py", r"^import re$", "import re\n_MORE = 1", {"metrics", "robustness"}),
            ("model/evaluation/metrics/prompts/green-v1.txt", r"\A", "Be strict. ", {"metrics", "robustness"}),
            ("pipelines/cohort/privacy/given_names.txt", r"\A", "Xanthippe\n",
             {"exams", "findings", "identifiers", "organ maps", "external set", "exports"}),
        ],
    )  # fmt: skip
    def test_a_changed_constant_makes_stale_what_uses_it_and_nothing_else(self, edited, name, pattern, by, stale):
        edited.replace(name, pattern, by)
        assert edited.stale() == stale

    def test_every_module_of_every_closure(self, copied):
        """Each module in turn gets a constant more: exactly the closures that hold it have another version."""
        closures = {name: set(copied.closure(entry)) for name, entry in ENTRIES.items()}
        edits = Edits(copied)
        for module in sorted(set().union(*closures.values())):
            path = source_of(copied, module)
            edits.write(str(path), path.read_text() + "\n_ONE_MORE = 1\n")
            assert edits.stale() == {name for name, modules in closures.items() if module in modules}, module
            edits.undo()

    def test_import_inside_a_function_counts(self, edited):
        edited.replace(
            "pipelines/imaging/lesions/faces.py", r"\A", "def f():\n    import model.training.schedule\n\n\n"
        )
        edited.before = versions(edited.tree)
        edited.replace("model/training/schedule.py", r"math\.pi", "3.14")
        assert edited.stale() == LEARNT | {"peaks", "lesions", "external set", "texts", "robustness"}


class TestNotStale:
    def test_comments_docstrings_and_layout(self, copied):
        """All sources are written anew without comments, in another layout, with other docstrings."""
        edits = Edits(copied)
        for path in sources(copied):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is not ...:
                    node.value.value = "Another docstring."
            edits.write(str(path), ast.unparse(tree) + "\n\n# The end.\n")
        assert edits.stale() == set()
        edits.undo()

    def test_modules_outside_of_the_closure(self, edited):
        for module in [*PLUMBING, "pipelines.catalog.build", "model.serving.server"]:
            path = edited.tree.root.joinpath(*module.split(".")).with_suffix(".py")
            edited.write(str(path), path.read_text() + "\n_ONE_MORE = 1\n")
        assert edited.stale() == set()

    def test_what_type_checkers_alone_import(self, edited):
        edited.replace(
            "pipelines/imaging/lesions/faces.py",
            r"\A",
            "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import model.training.schedule\n",
        )
        edited.before = versions(edited.tree)
        edited.replace("model/training/schedule.py", r"math\.pi", "3.14")
        assert edited.stale() == LEARNT


class TestClosure:
    def test_stages_have_the_version_of_their_module(self):
        assert {table: stage_code(table) for table in TABLES} == {
            table: code_version(entry) for table, entry in STAGES.items()
        }

    def test_plumbing_is_there_and_has_a_reason(self):
        for module, reason in PLUMBING.items():
            assert ROOT.joinpath(*module.split(".")).with_suffix(".py").is_file(), module
            assert reason

    def test_what_computes_is_no_plumbing(self):
        assert not set(PLUMBING) & set(ENTRIES.values())
        computing = ("pipelines.imaging.", "pipelines.reports.rules.", "pipelines.reports.vocabulary.",
                     "pipelines.dataset.", "pipelines.exports.", "model.evaluation.metrics.")  # fmt: skip
        assert [module for module in PLUMBING if module.startswith(computing)] == []

    def test_no_constant_is_taken_from_plumbing(self):
        """A constant decides values: what computes takes none from a module whose changes nobody notices."""
        tree = SourceTree(ROOT)
        found = []
        for module in {m for entry in ENTRIES.values() for m in tree.closure(entry)}:
            for node in ast.walk(ast.parse(source_of(tree, module).read_text())):
                if isinstance(node, ast.ImportFrom) and node.module in PLUMBING:
                    found += [f"{module}: {node.module}.{a.name}" for a in node.names if a.name.isupper()]
        # The number of files that the tables are split into, and the default of a parameter.
        assert {name.split(".")[-1] for name in found} <= {"N_SHARDS", "QUESTION"}

    def test_every_data_file_is_read_by_a_module(self):
        tree = SourceTree(ROOT)
        read = {path for source in sources(tree) for path in tree.data_files(module_of(tree, source))}
        there = {p for name in ("pipelines", "model") for p in (ROOT / name).rglob("*") if p.is_file()}
        assert {p for p in there if p.suffix != ".py" and "__pycache__" not in p.parts} == read

    @pytest.mark.parametrize("module", ["pipelines.nothing", "pipelines.tables.lake", "polars"])
    def test_what_computes_nothing_has_no_version(self, module):
        with pytest.raises(ValueError, match=module):
            code_version(module)

    def test_asking_imports_nothing(self):
        code = (
            "import sys\n"
            "from pipelines.tables.provenance import code_version\n"
            "code_version('model.training.train')\n"
            "print(sorted(set(sys.modules) & {'torch', 'polars', 'numpy', 'model'}))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"
