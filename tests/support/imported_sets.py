"""Small data sets in the layouts that importers read: two exams each, one lesion an exam."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.imaging.volume import Volume, save_nifti

AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])
SUVMAX, MTV_ML = 9.0, 8 * 0.125


def suv() -> np.ndarray:
    array = np.full((20, 20, 12), 0.01, dtype=np.float32)
    array[3:17, 3:17] = 1.0
    array[8:10, 8:10, 5:7] = SUVMAX
    return array


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_nifti(Volume(array, affine), path)


def images(pet: Path, ct: Path | None = None, mask: Path | None = None, factor: float = 1.0) -> None:
    write(pet, (suv() * factor).astype(np.float32))
    if ct is not None:
        write(ct, np.where(suv() > 0.5, 40, -1000).astype(np.int16))
    if mask is not None:
        write(mask, (suv() > 5).astype(np.uint8))


def nnunet(root: Path) -> Path:
    for case in ("fdg_p1_2020", "psma_p2_2021"):
        images(
            *(root / "imagesTr" / f"{case}_{n}.nii.gz" for n in ("0001", "0000")), root / "labelsTr" / f"{case}.nii.gz"
        )
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT", "1": "PET"}, "file_ending": ".nii.gz"}))
    return root


def autopet(root: Path) -> Path:
    for patient, study in (("P1", "a"), ("P1", "b")):
        folder = root / patient / study
        images(folder / "SUV.nii.gz", folder / "CTres.nii.gz", folder / "SEG.nii.gz")
    return root


DOSE_BQ, WEIGHT_KG, UPTAKE_S = 3.5e8, 70.0, 3600.0
ACTIVITY_OF_SUV_1 = DOSE_BQ * 2 ** (-UPTAKE_S / 6586.2) / (WEIGHT_KG * 1000)


def bids(root: Path) -> Path:
    for subject in ("sub-01", "sub-02"):
        folder = root / subject / "ses-1"
        images(
            folder / "pet" / f"{subject}_ses-1_pet.nii.gz",
            folder / "ct" / f"{subject}_ses-1_ct.nii.gz",
            folder / "pet" / f"{subject}_ses-1_mask.nii.gz",
            ACTIVITY_OF_SUV_1,
        )
        own = {"InjectedRadioactivity": DOSE_BQ / 1e6, "InjectionStart": 0, "ImageDecayCorrectionTime": UPTAKE_S}
        (folder / "pet" / f"{subject}_ses-1_pet.json").write_text(json.dumps(own))
    above = {"Units": "Bq/mL", "InjectedRadioactivityUnits": "MBq", "TracerRadionuclide": "F18", "TracerName": "FDG"}
    (root / "pet.json").write_text(json.dumps(above | {"ImageDecayCorrected": True, "InjectionStart": 99}))
    (root / "participants.tsv").write_text(
        f"participant_id\tsex\tweight\nsub-01\tF\t{WEIGHT_KG}\nsub-02\tM\t{WEIGHT_KG}\n"
    )
    return root


def table(root: Path) -> Path:
    rows = []
    for exam in ("E1", "E2"):
        images(root / "img" / exam / "pet.nii.gz", root / "img" / exam / "ct.nii.gz", root / "img" / exam / "m.nii.gz")
        files = {name: f"img/{exam}/{file}.nii.gz" for name, file in (("P", "pet"), ("C", "ct"), ("M", "m"))}
        rows.append({"Scan": exam, "Pat": f"of {exam}", **files, "Words": "Node with SUV max of 9.0 (slice 6)."})
    pl.DataFrame(rows).write_csv(root / "set.csv")
    columns = 'exam = "Scan"\npatient = "Pat"\npet = "P"\nct = "C"\nmask = "M"\ntext = "Words"\n'
    (root / "mapping.toml").write_text(f"[columns]\n{columns}")
    return root / "set.csv"


SETS = {"nnunet": nnunet, "autopet": autopet, "bids": bids, "table": table}
