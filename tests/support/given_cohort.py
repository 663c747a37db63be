"""A small cohort with given masks, texts and planted identifiers."""

import csv
from pathlib import Path

import numpy as np

from pipelines.imaging.volume import Volume, save_nifti

KEY = b"0123456789abcdef0123456789abcdef"
AFFINE = np.array([[-5.0, 0, 0, 50], [0, 5, 0, -50], [0, 0, 5, 0], [0, 0, 0, 1]])
PLANTED = ("Fogelberg", "Astrid", "MRN7741932", "7741932", "1947", "FOG-1", "ACC-88213", "Okonkwo", "St. Elsewhere")
NOTE = "Mrs. Astrid Fogelberg, MRN 7741932, born 03/14/1947, seen by Dr. Okonkwo on 11/02/2023. "
TEXT = "Hypermetabolic node in the left axilla with SUV max of 9.0 (slice 7)."


def body(seed: int) -> np.ndarray:
    array = np.full((20, 20, 12), 0.01, dtype=np.float32)
    array[3:17, 3:17] = np.random.default_rng(seed).uniform(0.9, 1.1, (14, 14, 12))
    array[8:10, 8:10, 5:7] = 9.0
    array[14:16, 8:10, 5:7] = 7.0
    return array


def write_cohort_folder(cohort: Path) -> None:
    """Four exams with given masks; the last has no CT, and one is named as people are."""
    rows, given = [], []
    for n, (exam, patient, split) in enumerate(
        (("FOG-1", "MRN7741932", "train"), ("E2", "P2", "val"), ("E3", "P3", "test"), ("E4", "P4", "train"))
    ):
        folder = cohort / "exams" / exam
        folder.mkdir(parents=True)
        array = body(n)
        save_nifti(Volume(array, AFFINE), folder / "SUV.nii.gz")
        if exam != "E4":
            save_nifti(Volume(np.where(array > 0.5, 40, -1000).astype(np.int16), AFFINE), folder / "CT.nii.gz")
        save_nifti(Volume(((array > 8) * 1 + (array == 7.0) * 2).astype(np.uint8), AFFINE), folder / "SEG.nii.gz")
        rows.append((exam, patient, "", "2023-11-02", "FDG for Astrid Fogelberg", split))
        given += [(exam, "SEG.nii.gz", 1, (NOTE if n == 0 else "") + TEXT), (exam, "SEG.nii.gz", 2, "")]
    with (cohort / "reports.csv").open("w") as file:
        csv.writer(file).writerows([("exam_id", "patient_id", "findings", "study_date", "tracer", "split"), *rows])
    with (cohort / "given_masks.csv").open("w") as file:
        csv.writer(file).writerows([("exam_id", "mask", "label", "text"), *given])
