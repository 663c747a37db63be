"""What lies in examples/, executed on a small curation."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.catalog.build import build_catalog
from pipelines.tables.home import Home
from tests.support.curations import curate_small, write_exam_with_mask

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    write_exam_with_mask(tmp_path / "cohort")
    (tmp_path / "cohort" / "reports.csv").write_text("exam_id,patient_id,findings\n")
    (tmp_path / "cohort" / "given_masks.csv").write_text("exam_id,mask\nE1,SEG.nii.gz\n")
    made = Home(tmp_path / "home")
    curate_small(made, tmp_path / "cohort")
    build_catalog(made)
    return made


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_runs_and_draws_three_figures(path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PETAR_HOME", str(home.root))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))))
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "expected no outputs in the repository"
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3


def test_three_ways_to_the_tables_agree(home: Home) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "query_tables.py", home.root],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("shape: (1, ") == 3
