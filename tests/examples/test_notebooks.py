"""What lies in examples/, executed on a small curation."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.catalog.build import build_catalog
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.tables.home import Home
from tests.support.curations import curate_small

ROOT = Path(__file__).parents[2]
AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    array = np.full((20, 20, 12), 0.01, dtype=np.float32)
    array[3:17, 3:17] = 1.0
    array[5:7, 8:10, 5:7] = 9.0
    folder = tmp_path / "cohort" / "exams" / "E1"
    save_nifti(Volume(array, AFFINE), folder / "SUV.nii.gz")
    save_nifti(Volume((array > 5).astype(np.uint8), AFFINE), folder / "SEG.nii.gz")
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
