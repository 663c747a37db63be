"""Label maps of organs: found in the cohort, or made by a program that behaves as TotalSegmentator's command line."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.dataset.organ_maps import update_anatomy
from pipelines.dataset.totalsegmentator import TotalSegmentator, TotalSegmentatorError
from pipelines.imaging.organ_labels import LABELS
from pipelines.imaging.volume import Volume, load_nifti, save_nifti
from pipelines.settings import AnatomySettings
from pipelines.tables.home import Home

# The options of release 2 that matter here; it writes organs by HU, on the CT's grid, as one file.
PROGRAM = """#!{python}
import argparse, os, pathlib, sys, time
parser = argparse.ArgumentParser("TotalSegmentator")
parser.add_argument("-i", dest="input", required=True)
parser.add_argument("-o", dest="output", required=True)
parser.add_argument("-ml", "--ml", action="store_true")
parser.add_argument("-f", "--fast", action="store_true")
parser.add_argument("-ta", "--task", choices=["total", "body"], default="total")
parser.add_argument("-d", "--device", default="gpu")
parser.add_argument("--version", action="version", version={version!r})
a = parser.parse_args()
folder = pathlib.Path(__file__).parent
(folder / "calls").open("a").write(" ".join(sys.argv[1:]) + os.environ.get("TOTALSEG_WEIGHTS_PATH", "") + "\\n")
{then}
import nibabel, numpy as np
assert a.ml and a.task == "total"
image = nibabel.load(a.input)
hu = np.asarray(image.dataobj)
labels = np.where(hu > 300, {bone}, np.where(hu > -200, {liver}, 0)).astype(np.uint8)
nibabel.save(nibabel.Nifti1Image(labels, image.affine), a.output)
"""


def install(folder: Path, then: str = "", version: str = "2.11.0") -> str:
    path = folder / "TotalSegmentator"
    path.write_text(
        PROGRAM.format(python=sys.executable, version=version, then=then, bone=LABELS["sternum"], liver=LABELS["liver"])
    )
    path.chmod(0o755)
    return str(path)


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.is_file() else []


CT_AFFINE, PET_AFFINE = np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([4.0, 4.0, 4.0, 1.0])


def ct() -> np.ndarray:
    hu = np.full((20, 20, 40), -1000, np.int16)
    hu[4:16, 4:16, 4:36] = 50
    hu[9:11, 9:11, 4:36] = 600
    return hu


@pytest.fixture
def cohort(tmp_path: Path) -> SimpleNamespace:
    """Two exams with CT, one without, one with a label map of its own."""
    home, entries, rows = Home(tmp_path / "home"), [], []
    for exam_id in ("A", "B", "NOCT", "OWN"):
        folder = tmp_path / "cohort/exams" / exam_id
        suv = Volume(np.ones((10, 10, 20), np.float32) * 2, PET_AFFINE)
        save_nifti(suv, folder / "SUV.nii.gz")
        save_nifti(suv, home.root / f"volumes/{exam_id}/SUV.nii")
        if exam_id != "NOCT":
            save_nifti(Volume(ct(), CT_AFFINE), folder / "CT.nii.gz")
        if exam_id == "OWN":
            spleen = np.full((10, 10, 20), LABELS["spleen"], np.uint8)
            save_nifti(Volume(spleen, PET_AFFINE), folder / "TOTALSEG.nii.gz")
        entries.append(SimpleNamespace(exam_id=exam_id, folder=str(folder)))
        rows.append(
            {
                "exam_id": exam_id, "status": "ok", "row_key": f"k{exam_id}", "has_ct": exam_id != "NOCT",
                "suv_path": f"volumes/{exam_id}/SUV.nii",
            }
        )  # fmt: skip
    return SimpleNamespace(home=home, entries=entries, exams=pl.DataFrame(rows))


def update(cohort: SimpleNamespace, settings: AnatomySettings = AnatomySettings()) -> Any:
    return update_anatomy(cohort.home, cohort.entries, cohort.exams, settings=settings)


class TestUpdateAnatomy:
    def test_without_a_command_only_maps_that_are_there_are_used(self, cohort):
        assert sorted(update(cohort).paths) == ["OWN"]

    def test_makes_maps_of_exams_with_a_ct_and_without_a_map(self, cohort, tmp_path):
        settings = AnatomySettings(command=install(tmp_path), device="cpu")
        report = update(cohort, settings)
        assert sorted(report.paths) == ["A", "B", "OWN"]
        assert len(calls(tmp_path)) == 2
        labels = load_nifti(cohort.home.root / report.paths["A"])
        assert labels.shape == (10, 10, 20)
        assert {int(v) for v in np.unique(labels.array)} == {0, LABELS["liver"], LABELS["sternum"]}
        assert np.unique(load_nifti(cohort.home.root / report.paths["OWN"]).array).tolist() == [LABELS["spleen"]]

    def test_keeps_what_is_unchanged(self, cohort, tmp_path):
        settings = AnatomySettings(command=install(tmp_path), device="cpu")
        first, second = update(cohort, settings), update(cohort, settings)
        assert (second.counts.recomputed, second.counts.reused) == (0, 3)
        assert second.version == first.version
        assert len(calls(tmp_path)) == 2

    def test_another_model_makes_them_anew(self, cohort, tmp_path):
        settings = AnatomySettings(command=install(tmp_path), device="cpu")
        update(cohort, settings)
        assert update(cohort, settings.changed(fast=True)).counts.recomputed == 2
        assert "--fast" in calls(tmp_path)[-1]

    def test_a_failure_is_named_and_the_others_are_done(self, cohort, tmp_path):
        then = "if not (folder / 'failed').exists():\n    (folder / 'failed').touch(); sys.exit('no weights found')"
        report = update(cohort, AnatomySettings(command=install(tmp_path, then), device="cpu"))
        assert "no weights found" in report.problems["A"]
        assert sorted(report.paths) == ["B", "OWN"]
        assert update(cohort, AnatomySettings(command=install(tmp_path), device="cpu")).problems == {}

    def test_is_not_asked_for_ever_where_nothing_works(self, cohort, tmp_path):
        cohort.entries = cohort.entries[:1] * 5
        report = update(cohort, AnatomySettings(command=install(tmp_path, "sys.exit(1)"), device="cpu"))
        assert len(calls(tmp_path)) == 3
        assert "in a row" in report.problems["A"]

    def test_a_missing_command_is_an_error_before_anything_is_done(self, cohort):
        with pytest.raises(TotalSegmentatorError, match=r"anatomy\.command"):
            update(cohort, AnatomySettings(command="/nowhere/TotalSegmentator"))


class TestTotalSegmentator:
    def test_an_old_release_is_refused(self, tmp_path):
        with pytest.raises(TotalSegmentatorError, match="2 or later"):
            TotalSegmentator(AnatomySettings(command=install(tmp_path, version="1.5.7")))

    def test_is_given_the_folder_of_weights(self, tmp_path):
        settings = AnatomySettings(command=install(tmp_path), weights="/models/totalseg")
        TotalSegmentator(settings).segment(Volume(ct(), CT_AFFINE))
        assert calls(tmp_path)[-1].endswith("/models/totalseg")

    @pytest.mark.parametrize(
        ("then", "words"), [("sys.exit(0)", "nothing"), ("time.sleep(60)", "timeout_s"), ("os._exit(137)", "code 137")]
    )
    def test_says_what_went_wrong(self, tmp_path, then, words):
        program = TotalSegmentator(
            AnatomySettings(command=install(tmp_path, then), timeout_s=3.0 if "sleep" in then else 60.0)
        )
        with pytest.raises(TotalSegmentatorError, match=words):
            program.segment(Volume(ct(), CT_AFFINE))

    def test_a_device_it_does_not_know_is_refused(self):
        with pytest.raises(ValueError, match="device"):
            AnatomySettings(device="cuda")
