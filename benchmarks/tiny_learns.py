"""What `tiny` learns of region and side on held-out phantom patients: with mask and focal crop, with the mask alone,
with neither.

Run: python -m benchmarks.tiny_learns FOLDER [--exams 400] [--epochs 14] [--anatomy-epochs 15] [--arms
both,mask,neither]. The cohort and its volumes are kept in FOLDER, so that a second run starts at once. One thread;
minutes are of the training.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from model.ablation import Arm, run_arm, with_short_targets
from model.anatomy import anatomy_samples
from model.config import preset, training_settings
from pipelines.imaging.exam import read_exam
from pipelines.imaging.volume import Volume, load_nifti, resample_to, save_nifti
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.schemas import frame
from pipelines.splits import SplitSettings, split_of

SPLITS = SplitSettings(val=0.05, test=0.15)
ARMS = {
    "both": Arm("mask and focal crop"),
    "mask": Arm("mask alone", focal=False),
    "neither": Arm("neither", mask=False, focal=False),
}
QUESTION = "Please describe the region highlighted in the PET image."


def phantom_samples(cohort: Path, home: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(findings, anatomy) as rows of `samples`, with the phantom's true masks and fields, cached in `home`."""
    tables = home / "findings.parquet", home / "anatomy.parquet"
    if all(path.is_file() for path in tables):
        return pl.read_parquet(tables[0]), pl.read_parquet(tables[1])
    with (cohort / "truth.csv").open() as file:
        truth = [row for row in csv.DictReader(file) if row["outcome"] == "lesion" and row["mask"]]
    exams: dict[str, dict[str, Any]] = {}
    rows = []
    for number, row in enumerate(truth):
        exam_id = row["exam_id"]
        if exam_id not in exams:
            exams[exam_id] = _write_exam(cohort / "exams" / exam_id, exam_id, row["patient_id"], home)
        mask = _cropped(load_nifti(cohort / "truth" / f"{row['mask']}.nii.gz"))
        path = save_nifti(mask, home / "masks" / exam_id / f"{number}.nii.gz")
        known = {name: row[name] or None for name in ("region", "organ", "subsite", "laterality")}
        rows.append(
            {
                **{k: exams[exam_id][k] for k in ("exam_id", "patient_id", "suv_path", "ct_path")},
                **known,
                "sample_id": f"{exam_id}:{number}",
                "kind": "finding",
                "finding_id": f"{exam_id}:{number}",
                "split": split_of(row["patient_id"], SPLITS),
                "question": QUESTION,
                "target": row["sentence"],
                "mask_path": str(path.relative_to(home)),
                "mask_label": 1,
            }
        )
    maps = {exam_id: cohort / "exams" / exam_id / "TOTALSEG.nii.gz" for exam_id in exams}
    anatomy, problems = anatomy_samples(pl.DataFrame(list(exams.values())), maps, home, splits=SPLITS)
    if problems:
        raise ValueError(f"expected label maps without fault, got {problems}")
    findings = with_short_targets(frame("samples", rows))
    findings.write_parquet(tables[0])
    anatomy.write_parquet(tables[1])
    return findings, anatomy


def _write_exam(folder: Path, exam_id: str, patient_id: str, home: Path) -> dict[str, Any]:
    exam = read_exam(folder, exam_id)
    suv = save_nifti(exam.suv, home / "volumes" / exam_id / "SUV.nii")
    ct = None
    if exam.ct is not None:
        on_grid = resample_to(exam.ct, exam.suv, order=1, fill=-1000)
        ct = str(save_nifti(on_grid, home / "volumes" / exam_id / "CT.nii").relative_to(home))
    return {
        "exam_id": exam_id,
        "patient_id": patient_id,
        "status": "ok",
        "suv_path": str(suv.relative_to(home)),
        "ct_path": ct,
    }


def _cropped(mask: Volume) -> Volume:
    inside = np.argwhere(mask.array > 0)
    box = tuple(slice(int(a), int(b)) for a, b in zip(inside.min(axis=0), inside.max(axis=0) + 1))
    cut = mask.crop(box)  # type: ignore[arg-type]  # three axes
    return Volume((cut.array > 0).astype(np.uint8), cut.affine)


def main() -> None:
    """Prints a line a measurement, and a line an arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exams", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--anatomy-epochs", type=int, default=15)
    parser.add_argument("--arms", default="both,mask,neither")
    options = parser.parse_args()
    cohort, home = options.folder / "cohort", options.folder / "home"
    write_cohort(cohort, PhantomSettings(options.exams, options.exams, seed=11, size="small"))
    findings, anatomy = phantom_samples(cohort, home)
    counts = ", ".join(f"{split} {n}" for split, n in findings.group_by("split").len().sort("split").iter_rows())
    print(f"{options.exams} patients, lesions: {counts}; {len(anatomy)} anatomy pairs", flush=True)
    settings = training_settings("tiny", "findings_full", epochs=options.epochs, samples_per_epoch=0, language_rate=0.2)
    first = training_settings("tiny", "anatomy_full", epochs=options.anatomy_epochs)
    for name in options.arms.split(","):
        result = run_arm(
            ARMS[name],
            findings,
            anatomy,
            preset("tiny"),
            settings,
            home,
            options.folder / "runs" / name,
            anatomy_settings=first,
            measure_epochs=4,
            on_measure=lambda minutes, accuracy: print(f"  {minutes:5.1f} min  {accuracy:.3f}", flush=True),
        )
        print(f"{result.name}: {result.accuracy:.1%} of {result.n} in {result.minutes:.1f} min", flush=True)


if __name__ == "__main__":
    main()
