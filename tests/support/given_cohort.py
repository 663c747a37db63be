"""A small cohort with given masks, texts and planted identifiers."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom

from pipelines.imaging.volume import Volume, save_nifti
from pipelines.phantom.body import draw_patient
from pipelines.phantom.exam_files import HALF_LIFE_S, Injection, Study, write_ct_dicom, write_pet_dicom

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
    """Four exams with given masks; the last has no CT, the third is DICOM whose headers name people and places, and the
    first is named as people are."""
    rows, given = [], []
    for n, (exam, patient, split) in enumerate(
        (("FOG-1", "MRN7741932", "train"), ("E2", "P2", "val"), ("E3", "P3", "test"), ("E4", "P4", "train"))
    ):
        folder = cohort / "exams" / exam
        folder.mkdir(parents=True)
        array = body(n)
        hu = np.where(array > 0.5, 40, -1000).astype(np.int16)
        if exam == "E3":
            _write_dicom(folder, array, hu)
        else:
            save_nifti(Volume(array, AFFINE), folder / "SUV.nii.gz")
        if exam in ("FOG-1", "E2"):
            save_nifti(Volume(hu, AFFINE), folder / "CT.nii.gz")
        save_nifti(Volume(((array > 8) * 1 + (array == 7.0) * 2).astype(np.uint8), AFFINE), folder / "SEG.nii.gz")
        rows.append((exam, patient, "", "2023-11-02", "FDG for Astrid Fogelberg", split))
        given += [(exam, "SEG.nii.gz", 1, _NOTES.get(exam, "") + TEXT), (exam, "SEG.nii.gz", 2, "")]
    with (cohort / "reports.csv").open("w") as file:
        csv.writer(file).writerows([("exam_id", "patient_id", "findings", "study_date", "tracer", "split"), *rows])
    with (cohort / "given_masks.csv").open("w") as file:
        csv.writer(file).writerows([("exam_id", "mask", "label", "text"), *given])


# Without a title or a heading: that these are names is known from the headers alone.
_NOTES = {"FOG-1": NOTE, "E3": "Discussed with Fogelberg and with Okonkwo. "}
_NAMING = {
    "PatientName": "Fogelberg^Astrid",
    "PatientID": "MRN7741932",
    "PatientBirthDate": "19470314",
    "AccessionNumber": "ACC-88213",
    "ReferringPhysicianName": "Okonkwo^N",
    "OperatorsName": "Okonkwo",
    "InstitutionName": "St. Elsewhere",
    "StationName": "FOG-1",
    "SeriesDescription": "WB Fogelberg ACC-88213",
    "ManufacturerModelName": "Biograph of St. Elsewhere",
}


def _write_dicom(folder: Path, suv: np.ndarray, hu: np.ndarray) -> None:
    """The exam as DICOM series, RAS+, with names in every header."""
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = AFFINE[:3] @ (suv.shape[0] - 1, 0, 0, 1)
    study = Study("E3", draw_patient("P3", np.random.default_rng(0)), affine, (5.0, 5.0, 5.0))
    injected = datetime(2023, 11, 2, 9, 0)
    scanned = injected + timedelta(hours=1)
    injection = Injection("FDG", 3.5e8, HALF_LIFE_S["FDG"], injected, scanned, "START")
    write_pet_dicom(folder / "pet", study, suv[::-1], injection)
    write_ct_dicom(folder / "ct", study, hu[::-1].astype(np.float32), scanned)
    for path in folder.rglob("*"):
        if path.is_file():
            dataset = pydicom.dcmread(path)
            for name, value in _NAMING.items():
                setattr(dataset, name, value)
            dataset.save_as(path)
