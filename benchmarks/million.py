"""One shard of a large cohort, without images: what a pass over it costs, nothing changed, one report changed; and the
question whether anything changed at all, over a home of that size.

python -m benchmarks.million [--exams 1000000] [--folders 100000] [--home DIR]

A shard needs no other shard, so one of 64 stands for all: its exams (a 64th) go through the stages as they are. The
home whose state is looked at has 64 copies of the shard's tables, and a cohort with a change list; beside it, the state
of a cohort of so many exam folders without one. Prints seconds, processor time and peak memory; exits 1 where a figure
misses its goal.
"""

import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from assets.unchanged import Place, state
from benchmarks.figures import Figure
from pipelines.cohort.cohort_files import CHANGE_LIST, state_of_cohort
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.gate import forget_outcomes, read_outcomes
from pipelines.curation.run import TABLES, is_current, run_stage
from pipelines.curation.stages.curation import open_curation
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import N_SHARDS, SHARD_NAMES, shard_of

SHARD = 0
GOAL_ONE_REPORT_S, GOAL_UNCHANGED_S, GOAL_GB = 2.0, 30.0, 2.0


def exams_of_shard(n: int) -> list[tuple[str, str, str]]:
    """(exam, patient, report) of n exams of patients of one shard, two a patient."""
    found: list[tuple[str, str, str]] = []
    number = 0
    while len(found) < n:
        patient = f"P{number:08d}"
        number += 1
        if shard_of(patient) == SHARD:
            for visit in range(2):
                value, at = 4 + number % 9, 100 + number % 70
                text = (
                    f"FDG avid nodule in the right upper lobe with SUV max of {value}.{visit} (slice {at}). Liver and "
                    "spleen are normal. No other focus of uptake."
                )
                found.append((f"E{number:08d}-{visit}", patient, text))
    return found[:n]


def _write(cohort: Path, rows: list[tuple[str, str, str]]) -> None:
    cohort.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(rows, schema=["exam_id", "patient_id", "findings"], orient="row")
    frame.write_parquet(cohort / "reports.parquet")


def timed(name: str, call: Callable[[], object], goal: float | None = None) -> Figure:
    """Seconds of a call, and its processor time."""
    started, cpu = time.perf_counter(), time.process_time()
    call()
    return Figure(name, time.perf_counter() - started, goal, cpu_s=time.process_time() - cpu)


def measure_shard(cohort: Path, home: Home, n: int) -> list[Figure]:
    """Figures of one shard of n exams."""
    curation = open_curation(home)
    rows = exams_of_shard(n)

    def stages() -> None:
        for table in TABLES:
            run_stage(curation, table, SHARD)

    _write(cohort, rows)
    figures = [
        timed("one shard: reading its reports", lambda: observe_cohort(cohort, home.manifest)),
        timed("one shard: full pass", stages),
        timed("one shard: nothing changed", lambda: is_current(curation, SHARD)),
    ]
    exam, patient, text = rows[n // 2]
    rows[n // 2] = (exam, patient, f"{text} New avid node in the left axilla with SUV max of 6.1 (slice 99).")
    _write(cohort, rows)
    figures.append(timed("one report changed: reading the reports", lambda: observe_cohort(cohort, home.manifest)))
    figures.append(timed("one report changed: its shard", stages, GOAL_ONE_REPORT_S))
    assert Lake(home.lake).read_shard("findings", SHARD).filter(pl.col("exam_id") == exam).height > 1
    return [*figures, Figure("peak memory", _peak_gb(), GOAL_GB, "GB")]


def measure_unchanged(cohort: Path, home: Home, folders: int) -> list[Figure]:
    """Figures of the question whether anything changed."""
    for table in TABLES:
        source = home.root / "lake" / table / f"{SHARD_NAMES[SHARD]}.parquet"
        for name in SHARD_NAMES:
            if name != SHARD_NAMES[SHARD]:
                shutil.copyfile(source, source.with_name(f"{name}.parquet"))
    forget_outcomes(home, read_outcomes(home))  # As a publication does.
    (cohort / CHANGE_LIST).write_text("exam_id\n")
    place = Place.of(cohort, home.root, None, {})
    figures = [
        timed("nothing changed, with a change list", lambda: state(place, state_of_cohort(cohort)), GOAL_UNCHANGED_S)
    ]
    (cohort / CHANGE_LIST).unlink()
    for number in range(folders):
        folder = cohort / "exams" / f"E{number:08d}"
        folder.mkdir(parents=True)
        (folder / "SUV.nii.gz").touch()
    figures.append(timed(f"looking at {folders} exam folders", lambda: state_of_cohort(cohort)))
    return figures


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main(
    exams: Annotated[int, typer.Option(help="of the whole cohort; a 64th is curated")] = 1_000_000,
    folders: Annotated[int, typer.Option(help="exam folders that are looked at without a change list")] = 100_000,
    home: Annotated[Path | None, typer.Option(help="keep what is written here")] = None,
) -> None:
    """Measures a large cohort; exits 1 where a figure misses its goal."""
    with tempfile.TemporaryDirectory() as temporary:
        base = home or Path(temporary)
        place = Home(base / "home")
        figures = []
        for figures_of in (
            lambda: measure_shard(base / "cohort", place, exams // N_SHARDS),
            lambda: measure_unchanged(base / "cohort", place, folders),
        ):
            for figure in figures_of():
                print(figure.line(), flush=True)
                figures.append(figure)
    raise typer.Exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    typer.run(main)
