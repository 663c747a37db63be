"""Links of lesions over time on a drawn cohort: those that the truth says are one lesion, and those that are not.
Prints a Markdown table.

Draws hard exams (posture, breath, arms, chains of nodes) of patients with several visits, unless they are there.

usage: python -m benchmarks.links [--patients N --visits N --seed N] [--made COHORT HOME]
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from benchmarks.hard_phantoms import heading, table
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.phantom.hard import HardSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.pair_reasons import LinkState

SAME_PLACE_MM = 8.0
"""A located peak this near to a true one is that lesion's [mm]: two voxels of a PET."""
_LINKED = (LinkState.PERSISTING, LinkState.SPLIT, LinkState.MERGED)


def true_names(lesions: pl.DataFrame, truth: pl.DataFrame) -> dict[str, str]:
    """Finding -> the drawn lesion at whose peak it was located.

    Args:
        lesions: located lesions.
        truth: `truth.csv` of the cohort.
    """
    drawn: dict[str, list[tuple[str, list[float]]]] = {}
    for row in truth.filter(pl.col("mask").str.len_chars() > 0).iter_rows(named=True):
        place = [float(v) for v in row["peak_ras_mm"].split()]
        drawn.setdefault(row["exam_id"], []).append((row["lesion_id"], place))
    found = {}
    for row in lesions.iter_rows(named=True):
        at = np.array([row[f"peak_{axis}_mm"] for axis in "xyz"])
        near = [(float(np.linalg.norm(at - place)), name) for name, place in drawn.get(row["exam_id"], [])]
        distance, name = min(near, default=(np.inf, ""))
        if distance <= SAME_PLACE_MM:
            found[row["finding_id"]] = name
    return found


def counts(links: pl.DataFrame, names: dict[str, str], lesions: pl.DataFrame) -> Counter[str]:
    """How many lesions that were located in both exams of a pair are linked rightly, with another one, not (with a
    reason), or are called new; and new and vanished lesions that are linked all the same.
    """
    by_exam: dict[str, set[str]] = {}
    for row in lesions.iter_rows(named=True):
        if row["finding_id"] in names:
            by_exam.setdefault(row["exam_id"], set()).add(names[row["finding_id"]])
    said: Counter[str] = Counter()
    done = set()
    for row in links.drop_nulls("finding_id").iter_rows(named=True):
        own, before = names.get(row["finding_id"]), names.get(row["prior_finding_id"] or "")
        if own is None or (row["prior_finding_id"] and before is None):
            continue
        persists = own in by_exam.get(row["prior_exam_id"], set())
        is_linked = row["state"] in _LINKED
        if is_linked and before != own:
            said["wrong" if row["state"] == LinkState.PERSISTING else "merged with a neighbour"] += 1
        elif persists and (row["exam_id"], own) not in done:
            done.add((row["exam_id"], own))
            said["in both"] += 1
            said["right" if is_linked else "not linked" if row["state"] == LinkState.NOT_LINKED else "new"] += 1
        elif not persists:
            said["new lesions"] += 1
    return said


def followed(work: Path, patients: int, visits: int, seed: int) -> tuple[Path, Path]:
    """Cohort and home of drawn hard exams whose lesions are linked."""
    cohort, home = work / "cohort", work / "home"
    write_cohort(cohort, PhantomSettings(patients, patients * visits, seed, hard=HardSettings()))
    environment = os.environ | {"PETAR_COHORT": str(cohort), "PETAR_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "assets.cli", "followup"], env=environment, check=True)
    return cohort, home


def main(
    patients: Annotated[int, typer.Option(help="patients of the drawn cohort")] = 5,
    visits: Annotated[int, typer.Option(help="exams of each")] = 3,
    seed: Annotated[int, typer.Option(help="of the drawn cohort")] = 311,
    made: Annotated[tuple[Path, Path] | None, typer.Option(help="phantom cohort and home that are there")] = None,
) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as temporary:
        cohort, home = made or followed(Path(temporary), patients, visits, seed)
        _print(cohort, Lake(Home(home).lake))


def _print(cohort: Path, lake: Lake) -> None:
    truth = pl.read_csv(cohort / "truth.csv", infer_schema=False).with_columns(pl.all().fill_null(""))
    physiologic = lake.read_table("findings").filter("is_physiologic").select("finding_id")
    lesions = lake.read_table("lesions").filter(outcome="lesion").join(physiologic, on="finding_id", how="anti")
    said = counts(lake.read_table("lesion_links"), true_names(lesions, truth), lesions)
    pairs = lake.read_table("exam_pairs")
    heading("Links of lesions", "lesions located in both exams of a pair, and what they were linked with")
    rows = [["pairs", str(pairs.drop_nulls("matrix").height)]]
    rows += [["not registered", str(pairs.filter(reason="not registered").height)]]
    names = ("in both", "right", "wrong", "not linked", "new", "merged with a neighbour", "new lesions")
    table(["what", "count"], rows + [[name, str(said[name])] for name in names])


if __name__ == "__main__":
    typer.run(main)
