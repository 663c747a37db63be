"""Cohorts of hard exams on disk: written whole, found again by their settings, added to."""

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipelines.phantom import PhantomSettings, add_exam, write_cohort
from pipelines.phantom.__main__ import main
from pipelines.phantom.hard import HardSettings, Workstation

HARD = HardSettings(spacing_mm=7.0, workstation=Workstation(scale=1.02), organ_maps=1.0)
SETTINGS = PhantomSettings(5, 5, 3, hard=HARD)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("hard") / "cohort", SETTINGS).folder


def truth_of(cohort: Path) -> list[dict[str, str]]:
    with (cohort / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_exam_has_pet_ct_and_organ_map_on_one_grid(cohort):
    for folder in (cohort / "exams").iterdir():
        shapes = {nibabel.load(folder / f"{n}.nii.gz").shape for n in ("SUV", "CT", "TOTALSEG")}
        assert len(shapes) == 1, folder.name


def test_the_truth_of_lesions_and_bladder_lies_in_the_image(cohort):
    rows = [r for r in truth_of(cohort) if r["outcome"] == "lesion"]
    assert any(r["lesion_id"] == "urinary bladder" for r in rows)
    for r in rows:
        image = nibabel.load(cohort / "exams" / r["exam_id"] / "SUV.nii.gz")
        ijk = np.linalg.inv(image.affine) @ [*map(float, r["peak_ras_mm"].split()), 1]
        suv = np.asarray(image.dataobj)[tuple(np.round(ijk[:3]).astype(int))]
        assert float(r["suvmax_reported"]) == pytest.approx(1.02 * suv, abs=0.06)
        assert nibabel.load(cohort / "truth" / f"{r['mask']}.nii.gz").get_fdata().any()


def test_an_equal_cohort_is_found_again_and_another_workstation_is_another_cohort(cohort):
    assert not write_cohort(cohort, SETTINGS).written
    assert add_exam(cohort) == "PX-0006"
    assert len(list((cohort / "exams").iterdir())) == 6


def test_the_command_line_writes_reports_without_slices(tmp_path, capsys):
    arguments = [str(tmp_path / "c"), "--hard", "suv", "--exams", "1", "--spacing", "8", "--tracer", "FDG"]
    assert main(arguments) == 0
    assert "1 exams of 1 patients" in capsys.readouterr().out
    assert {r["slice"] for r in truth_of(tmp_path / "c")} == {""}


def test_the_command_line_refuses_a_workstation_out_of_range(tmp_path, capsys):
    assert main([str(tmp_path / "c"), "--hard", "slices", "--scale", "0"]) == 1
    assert "expected a scale" in capsys.readouterr().err
