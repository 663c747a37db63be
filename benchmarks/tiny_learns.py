"""What `tiny` learns of region and side on held-out phantom patients: with mask and focal crop, with the mask alone,
with neither; or the whole ablation.

Run: python -m benchmarks.tiny_learns FOLDER [--exams 1600] [--effort 1.0] [--conditions both,mask,neither | ablation]
[--figure docs/images/ablation.png]. The cohort and its volumes are kept in FOLDER, so that a second run starts at
once; a condition that was trained is not trained again, a killed one goes on. Minutes are of the training.
"""

import csv
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer

from model.evaluation.ablation.conditions import CONDITIONS, Condition, Point, ablation_table
from model.evaluation.ablation.figure import ablation_figure
from model.evaluation.ablation.training import (
    ConditionRequest,
    ablation_settings,
    balanced,
    run_condition,
    with_short_targets,
)
from model.inputs.anatomy_questions import anatomy_samples
from model.petar.config import preset
from pipelines.dataset.splits import split_of
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.volume import Volume, load_nifti, resample_to, save_nifti
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.phantom.sites import REGIONS as PHANTOM_REGIONS
from pipelines.settings import QUESTION, SplitSettings
from pipelines.tables import atomic
from pipelines.tables.home import Home
from pipelines.tables.report_fields import REGIONS
from pipelines.tables.schemas import frame

SPLITS = SplitSettings(val=0.05, test=0.15)
CORNERS = {
    "both": Condition("mask and focal crop"),
    "mask": Condition("mask alone", focal=False),
    "neither": Condition("neither", mask=False, focal=False),
}
_REGION = dict(zip(PHANTOM_REGIONS, REGIONS, strict=True))


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
        known = {name: row[name] or None for name in ("organ", "subsite", "laterality")}
        known["region"] = _REGION.get(row["region"])
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
    anatomy, problems = anatomy_samples(pl.DataFrame(list(exams.values())), maps, Home(home), splits=SPLITS)
    if problems:
        raise ValueError(f"expected label maps without fault, got {problems}")
    findings = balanced(with_short_targets(frame("samples", rows)))
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


def main(
    folder: Path,
    exams: int = 1600,
    effort: Annotated[float, typer.Option(help="part of the preset's epochs to train")] = 1.0,
    conditions: Annotated[str, typer.Option(help="or `ablation`: the paper's eight")] = "both,mask,neither",
    figure: Annotated[Path | None, typer.Option(help="PNG of accuracy against minutes")] = None,
) -> None:
    """Prints a line a measurement, and a line a condition."""
    cohort, home = folder / "cohort", folder / "home"
    write_cohort(cohort, PhantomSettings(exams, exams, seed=11, size="small"))
    findings, anatomy = phantom_samples(cohort, home)
    counts = ", ".join(f"{split} {n}" for split, n in findings.group_by("split").len().sort("split").iter_rows())
    print(f"{exams} patients, lesions: {counts}; {len(anatomy)} anatomy pairs", flush=True)
    n_findings, n_anatomy = (t.filter(pl.col("split") == "train").height for t in (findings, anatomy))
    first, second = ablation_settings("tiny", n_findings, n_anatomy, effort)
    whole = conditions == "ablation"
    chosen = CONDITIONS if whole else [CORNERS[name] for name in conditions.split(",")]
    results = []
    for condition in chosen:
        request = ConditionRequest(
            condition,
            findings,
            anatomy,
            Home(home),
            preset("tiny"),
            second,
            folder / "runs" / condition.folder_name,
            anatomy_settings=first,
            measure_epochs=max(1, second.epochs // 6),
        )
        result = run_condition(request, _print_point)
        results.append(result)
        print(
            f"{result.name}: {result.accuracy:.1%} of {result.n} in {result.minutes:.1f} min "
            f"(the most frequent answer: {result.chance:.1%})",
            flush=True,
        )
    if whole:
        print(ablation_table(results))
    if figure:
        atomic.write_bytes(figure, ablation_figure(results))


def _print_point(point: Point) -> None:
    print(
        f"  {point.minutes:5.1f} min  {point.both:.3f}  (region {point.region:.3f}, side {point.laterality:.3f})",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
