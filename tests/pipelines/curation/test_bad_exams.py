"""Bad input through the curation: every exam is a row with its problem and reason, its findings carry it, and the good
exam beside them is done."""

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import TABLES, open_curation, run_stage
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.reports.llm.readers_file import load_readers
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of

READERS = load_readers()
SENTENCE = "FDG avid right lower lobe nodule with SUV max of 8.0 (slice 8)."

PROBLEMS = {
    "truncated": ("unreadable file", "copy"),
    "empty-file": ("unreadable file", "0 bytes"),
    "missing-slice": ("inconsistent geometry", "lacks 1 slices"),
    "two-series": ("inconsistent geometry", "two series"),
    "two-beds": ("inconsistent geometry", "join them into one series"),
    "tilted": ("inconsistent geometry", "tilted"),
    "uneven": ("inconsistent geometry", "gaps of"),
    "projection": ("no PET series", "a projection"),
    "no-slope": ("missing DICOM tag", "RescaleSlope (0028,1053)"),
    "no-weight": ("missing DICOM tag", "PatientWeight (0010,1030), got 0"),
    "nan": ("implausible values", "NaN"),
    "negative": ("implausible values", "lowest is -4"),
    "all-zero": ("implausible values", "empty"),
    "singular": ("inconsistent geometry", "expected positive spacings"),
    "two-sides": ("inconsistent geometry", "left and right"),
    "metres": ("inconsistent geometry", "in mm"),
    "time-frames": ("inconsistent geometry", "one volume per file"),
    "no-folder": ("no exam folder", "no-folder"),
    "no-files": ("empty exam folder", "copy the exam again"),
}
"""Exam -> its problem, and words of the reason."""
USABLE = {
    "good": None,
    "jitter": None,
    "beside-others": None,
    "empty-masks": None,
    "no-report": None,
    "ct-elsewhere": "frame of reference",
    "ct-short": "of 16 PET slices",
}
"""Exam -> words of what is said of its CT."""


@pytest.fixture
def suv(spheres) -> Volume:
    volume = spheres([((0.0, 0.0, -10.0), 12.0, 9.0)], shape=(32, 30, 16), origin_mm=(-48.0, -45.0, -30.0))
    array = volume.array * np.float32(8.0 / volume.array.max())
    return Volume(array, volume.affine)


def write_raw(path: Path, array: np.ndarray, affine: np.ndarray, qform: np.ndarray | None = None) -> None:
    """A NIfTI as nibabel writes it, whatever its affine says."""
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.set_sform(affine, code=1)
    image.set_qform(qform, code=0 if qform is None else 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_cohort(exams: Path, suv: Volume, write_series) -> None:
    pet = Volume(np.rint(suv.array * 3000).astype(np.float32), suv.affine)
    ct = Volume(np.full(suv.shape, 40, np.int16), suv.affine)

    def moved(by):
        def edit(dataset, k):
            dataset.ImagePositionPatient = (np.array(dataset.ImagePositionPatient, float) + by(k)).tolist()

        return edit

    cut = write_series(exams / "truncated", pet)[4]
    cut.write_bytes(cut.read_bytes()[:-100])
    write_series(exams / "empty-file", pet)[15].write_bytes(b"")
    write_series(exams / "missing-slice", pet)[5].unlink()
    for name in ("a", "b"):
        write_series(exams / "two-series" / name, pet, series_uid="1.2.9")
    write_series(exams / "two-beds" / "low", pet.crop((slice(None), slice(None), slice(0, 8))))
    write_series(exams / "two-beds" / "high", pet.crop((slice(None), slice(None), slice(8, 16))))
    write_series(exams / "tilted", pet, edit=moved(lambda k: (0, 0.5 * k, 0)))
    write_series(exams / "uneven", pet, edit=moved(lambda k: (0, 0, 0.8 if k > 6 else 0.0)))
    write_series(exams / "jitter", pet, edit=moved(lambda k: (0, 0, 0.04 if k % 2 else -0.04)))
    write_series(exams / "projection", pet, SeriesType=["WHOLE BODY", "REPROJECTION"])
    write_series(exams / "no-slope", pet, edit=lambda dataset, k: dataset.pop("RescaleSlope"))
    write_series(exams / "no-weight", pet, PatientWeight="0")
    for name, value in (("nan", np.nan), ("negative", -4.0)):
        array = suv.array.copy()
        array[3, 4, 5] = value
        save_nifti(Volume(array, suv.affine), exams / name / "SUV.nii.gz")
    save_nifti(Volume(np.zeros_like(suv.array), suv.affine), exams / "all-zero" / "SUV.nii.gz")
    write_raw(exams / "singular" / "SUV.nii.gz", suv.array, np.diag([3.0, 3.0, 0.0, 1.0]))
    write_raw(exams / "two-sides" / "SUV.nii.gz", suv.array, suv.affine, np.diag([-1.0, 1, 1, 1]) @ suv.affine)
    write_raw(exams / "metres" / "SUV.nii.gz", suv.array, np.diag([0.003, 0.003, 0.003, 1.0]))
    write_raw(exams / "time-frames" / "SUV.nii.gz", np.stack([suv.array, suv.array], axis=-1), suv.affine)
    for name in ("good", "no-report", "ct-short", "empty-masks"):
        save_nifti(suv, exams / name / "SUV.nii.gz")
    save_nifti(Volume(np.zeros(suv.shape, np.uint8), suv.affine), exams / "empty-masks" / "SEG.nii.gz")
    save_nifti(Volume(ct.array[:, :, :9], ct.affine), exams / "ct-short" / "CT.nii.gz")
    write_series(exams / "ct-elsewhere" / "pet", pet)
    write_series(exams / "ct-elsewhere" / "ct", ct, modality="CT", frame_uid="1.2.3.5")
    write_series(exams / "beside-others", pet)
    for name in ("Thumbs.db", "reports.pdf", "DICOMDIR", ".DS_Store", "VERSION"):
        (exams / "beside-others" / name).write_bytes(b"no DICOM")
    (exams / "no-files" / "below").mkdir(parents=True)


@pytest.fixture
def curated(tmp_path: Path, suv: Volume, write_series) -> Lake:
    cohort, home = tmp_path / "cohort", Home(tmp_path / "home")
    write_cohort(cohort / "exams", suv, write_series)
    reported = [exam for exam in [*PROBLEMS, *USABLE] if exam != "no-report"]
    with (cohort / "reports.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("exam_id", "patient_id", "findings"), *((e, "P", SENTENCE) for e in reported)])
    observe_cohort(cohort, home.manifest)
    curation = open_curation(home)
    for shard in {shard_of("P"), shard_of("no-report")}:
        for table in TABLES:
            run_stage(curation, table, shard)
    shutil.rmtree(cohort)
    return Lake(home.lake)


def test_every_bad_exam_is_a_row_with_its_reason_and_the_others_are_done(curated: Lake) -> None:
    exams = {row["exam_id"]: row for row in curated.read_table("exams").iter_rows(named=True)}
    assert set(exams) == {*PROBLEMS, *USABLE}
    for exam_id, (problem, words) in PROBLEMS.items():
        row = exams[exam_id]
        assert (row["status"], row["problem"]) == ("problem", problem), (exam_id, row["message"])
        assert words in row["message"], row["message"]
        assert exam_id in row["message"], row["message"]
    for exam_id, words in USABLE.items():
        row = exams[exam_id]
        assert row["status"] == "ok", row["message"]
        assert words is None or words in row["ct_message"]

    places = {row["exam_id"]: row for row in curated.read_table("lesions").iter_rows(named=True)}
    assert set(places) == {*PROBLEMS, *USABLE} - {"no-report"}
    for exam_id, row in places.items():
        if exam_id in USABLE and exams[exam_id]["source"] == "nifti":
            assert row["outcome"] == "lesion", row["explanation"]
        if exam_id in PROBLEMS:
            assert row["outcome"] == "exam without usable images"
            assert PROBLEMS[exam_id][0] in row["explanation"]
            assert PROBLEMS[exam_id][1] in row["explanation"]
    assert curated.read_table("quarantine").height == 0
