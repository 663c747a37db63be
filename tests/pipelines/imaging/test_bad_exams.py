"""Bad input through the curation: every exam is a row with its problem and reason, its findings carry it, and the good
exam beside them is done."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.cohort import observe_cohort
from pipelines.curation import TABLES, CurationSettings, run_stage
from pipelines.home import Home
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.lake import Lake
from pipelines.reports.config import load_readers
from pipelines.sharding import shard_of

READERS = load_readers()
SENTENCE = "FDG avid right lower lobe nodule with SUV max of 8.0 (slice 8)."

PROBLEMS = {
    "truncated": ("unreadable file", "copy"),
    "missing-slice": ("inconsistent geometry", "lacks 1 slices"),
    "two-series": ("inconsistent geometry", "two series"),
    "tilted": ("inconsistent geometry", "tilted"),
    "uneven": ("inconsistent geometry", "gaps of"),
    "nan": ("implausible values", "NaN"),
    "negative": ("implausible values", "lowest is -4"),
    "all-zero": ("implausible values", "empty"),
    "no-folder": ("no exam folder", "no-folder"),
    "no-report": ("no report", "report"),
}
"""Exam -> its problem, and words of the reason."""
USABLE = {
    "good": None,
    "jitter": None,
    "ct-elsewhere": "frame of reference",
    "ct-short": "of 16 PET slices",
}
"""Exam -> words of what is said of its CT."""


@pytest.fixture
def suv(spheres) -> Volume:
    volume = spheres([((0.0, 0.0, -10.0), 12.0, 9.0)], shape=(32, 30, 16), origin_mm=(-48.0, -45.0, -30.0))
    array = volume.array * np.float32(8.0 / volume.array.max())
    return Volume(array, volume.affine)


@pytest.fixture
def curated(tmp_path: Path, suv: Volume, write_series) -> Lake:
    cohort, home = tmp_path / "cohort", Home(tmp_path / "home")
    exams = cohort / "exams"
    pet = Volume(np.rint(suv.array * 3000).astype(np.float32), suv.affine)
    ct = Volume(np.full(suv.shape, 40, np.int16), suv.affine)

    def tilt(dataset, k):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + 0.5 * k, z]

    def stretch(dataset, k):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + (0.8 if k > 6 else 0.0)]

    def jitter(dataset, k):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + (0.04 if k % 2 else -0.04)]

    cut = write_series(exams / "truncated", pet)[4]
    cut.write_bytes(cut.read_bytes()[:-100])
    write_series(exams / "missing-slice", pet)[5].unlink()
    for name in ("a", "b"):
        write_series(exams / "two-series" / name, pet, series_uid="1.2.9")
    write_series(exams / "tilted", pet, edit=tilt)
    write_series(exams / "uneven", pet, edit=stretch)
    write_series(exams / "jitter", pet, edit=jitter)
    for name, value in (("nan", np.nan), ("negative", -4.0)):
        array = suv.array.copy()
        array[3, 4, 5] = value
        save_nifti(Volume(array, suv.affine), exams / name / "SUV.nii.gz")
    save_nifti(Volume(np.zeros_like(suv.array), suv.affine), exams / "all-zero" / "SUV.nii.gz")
    save_nifti(suv, exams / "good" / "SUV.nii.gz")
    save_nifti(suv, exams / "no-report" / "SUV.nii.gz")
    write_series(exams / "ct-elsewhere" / "pet", pet)
    write_series(exams / "ct-elsewhere" / "ct", ct, modality="CT", frame_uid="1.2.3.5")
    save_nifti(suv, exams / "ct-short" / "SUV.nii.gz")
    save_nifti(Volume(ct.array[:, :, :9], ct.affine), exams / "ct-short" / "CT.nii.gz")
    reported = [exam for exam in [*PROBLEMS, *USABLE] if exam != "no-report"]
    with (cohort / "reports.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("exam_id", "patient_id", "findings"), *((e, f"P-{e}", SENTENCE) for e in reported)]
        )
    observe_cohort(cohort, home.manifest)
    patients = [f"P-{exam}" for exam in reported] + ["no-report"]
    for shard in sorted({shard_of(p) for p in patients}):
        for table in TABLES:
            run_stage(home, table, shard, CurationSettings(), READERS)
    shutil.rmtree(cohort)
    return Lake(home.lake)


def test_every_bad_exam_is_a_row_with_its_reason_and_the_others_are_done(curated: Lake) -> None:
    exams = {row["exam_id"]: row for row in curated.read_table("exams").iter_rows(named=True)}
    assert set(exams) == {*PROBLEMS, *USABLE}
    for exam_id, (problem, words) in PROBLEMS.items():
        row = exams[exam_id]
        assert (row["status"], row["problem"]) == ("problem", problem), exam_id
        assert words in row["message"], row["message"]
    for exam_id, words in USABLE.items():
        row = exams[exam_id]
        assert row["status"] == "ok", row["message"]
        assert words is None or words in row["ct_message"]

    places = {row["exam_id"]: row for row in curated.read_table("localisations").iter_rows(named=True)}
    assert set(places) == {*PROBLEMS, *USABLE} - {"no-report"}
    for exam_id, row in places.items():
        if exam_id in USABLE and exams[exam_id]["source"] == "nifti":
            assert row["outcome"] == "lesion", row["explanation"]
        if exam_id in PROBLEMS:
            assert row["outcome"] == "exam without usable images"
            assert PROBLEMS[exam_id][0] in row["explanation"]
    assert curated.read_table("quarantine").height == 0
