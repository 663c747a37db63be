"""Location and contours on hard phantom exams: undisturbed, in the numbers of other workstations, on wrong exams, and
with reports that name no slices. Prints Markdown tables.

usage: python -m benchmarks.hard_phantoms [--seeds N] [--first SEED] [--exams N] [--only PART ...]
       [--tree NAME=FOLDER ...] [--failures FILE]

--tree gives checkouts whose code curates, side by side in one run; this one where none is given. Columns that a
checkout does not write are left out. docs/hard-phantoms.md keeps figures.
"""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import duckdb
import numpy as np
import typer

from benchmarks.phantom_scores import Fate, Scored, joined, score
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.phantom.hard import HardSettings, Workstation

ROOT = Path(__file__).resolve().parents[1]
STATIONS = {
    "undisturbed": Workstation(),
    "scale 1.02, one slice off": Workstation(scale=1.02, slice_offset=1),
    "scale 0.98, two slices off": Workstation(scale=0.98, slice_offset=2),
    "scale 0.75": Workstation(scale=0.75),
}


MORE_STATIONS = {
    "whole numbers": Workstation(step=1.0),
    "digits cut off": Workstation(is_cut=True),
    "deviation of 0.5 %": Workstation(jitter=0.005),
    "slices from the feet": Workstation(origin="feet"),
    "scale 1.07, whole numbers, three slices off": Workstation(scale=1.07, step=1.0, slice_offset=-3),
}


class Part(StrEnum):
    """What is measured."""

    STATIONS = "stations"
    MORE_STATIONS = "more-stations"
    WRONG = "wrong-exams"
    NO_SLICES = "no-slices"


@dataclass(frozen=True)
class Tree:
    """A checkout whose code curates."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Bench:
    """What is drawn, where, and which checkouts curate it."""

    seeds: range
    n_exams: int
    work: Path
    trees: tuple[Tree, ...]

    def cohort(self, seed: int, settings: HardSettings, name: str) -> Path:
        """Draws a cohort."""
        folder = self.work / f"{name}-{seed}".replace(" ", "-").replace(",", "")
        write_cohort(folder, PhantomSettings(self.n_exams, self.n_exams, seed, hard=settings))
        return folder


def curate(tree: Tree, cohort: Path, home: Path) -> None:
    """Curates a cohort with a checkout's code."""
    shutil.rmtree(home, ignore_errors=True)
    environment = os.environ | {
        "PETAR_COHORT": str(cohort),
        "PETAR_HOME": str(home),
        "PYTHONPATH": str(tree.folder),
        "PYTHONWARNINGS": "ignore",
    }
    run = subprocess.run(
        [sys.executable, "-m", "assets.cli", "curate"], cwd=tree.folder, env=environment, capture_output=True, text=True
    )
    if run.returncode:
        raise RuntimeError(f"expected a curation of {cohort.name} by {tree.name}, got: {run.stderr[-2000:]}")


def curated(bench: Bench, tree: Tree, cohorts: Sequence[Path]) -> Scored:
    """The scores of cohorts together, each curated by a checkout and scored."""
    scores = []
    for cohort in cohorts:
        home = bench.work / f"home-{tree.name}"
        curate(tree, cohort, home)
        scores.append(score(home, cohort))
    return joined(scores)


def stations(bench: Bench, chosen: Mapping[str, Workstation]) -> dict[str, Scored]:
    """Every workstation's cohorts by every checkout: one table; returns the undisturbed scores by checkout."""
    drawn = {
        name: [bench.cohort(seed, HardSettings(workstation=station), name) for seed in bench.seeds]
        for name, station in chosen.items()
    }
    found = {(name, t.name): curated(bench, t, cohorts) for name, cohorts in drawn.items() for t in bench.trees}
    heading("Hard phantoms", "located, right candidate: of the reported; wrong: of the accepted; lost = Dice 0")
    rows = [[name, tree, *_figures(s)] for (name, tree), s in found.items()]
    table(["reports", "code", "lesions", "located", "or right candidate", "wrong", "median Dice", "under 0.5"], rows)
    return {tree: s for (name, tree), s in found.items() if name == "undisturbed"}


def _figures(scored: Scored) -> list[str]:
    dices = scored.dices
    return [
        str(len(scored.fates)),
        f"{scored.share('located'):.1%}",
        f"{scored.share('located', 'candidate'):.1%}",
        f"{scored.wrongly:.2%}",
        f"{np.median(dices):.3f}",
        f"{np.mean(np.array(dices) < 0.5):.1%}",
    ]


def by_kind(scores: dict[str, Scored]) -> None:
    """Located and Dice by what is hard about a lesion."""
    heading("By kind", "undisturbed; a lesion may be of several kinds")
    rows = []
    for tree, scored in scores.items():
        for kind in sorted({k for f in scored.fates for k in f.reported.kinds}):
            mine = [f for f in scored.fates if kind in f.reported.kinds]
            dices = [f.dice for f in mine]
            ratios = [f.volume_ratio for f in mine if f.volume_ratio > 0] or [0.0]
            rows.append(
                [
                    kind,
                    tree,
                    str(len(mine)),
                    f"{np.mean([f.how == 'located' for f in mine]):.1%}",
                    f"{np.median(dices):.3f}",
                    f"{np.mean(np.array(dices) < 0.5):.1%}",
                    f"{np.median(ratios):.2f}",
                ]
            )
    table(["kind", "code", "lesions", "located", "median Dice", "under 0.5", "volume ratio"], sorted(rows))


def wrong_exams(bench: Bench) -> None:
    """Reports on the wrong exam, among right ones that calibrate the cohort: how many findings are accepted."""
    heading("Reports on the wrong exam", "every report with every other exam, beside the right pairs")
    rows = []
    for tree in bench.trees:
        pairs = findings = accepted = 0
        for seed in bench.seeds:
            cohort = mismatched(bench.cohort(seed, HardSettings(), "undisturbed"), bench.work / f"mismatched-{seed}")
            home = bench.work / f"home-{tree.name}"
            curate(tree, cohort, home)
            counts = _accepted_of(home)
            pairs, findings, accepted = pairs + counts[0], findings + counts[1], accepted + counts[2]
        rows.append([tree.name, str(pairs), str(findings), str(accepted), f"{accepted / max(1, findings):.2%}"])
    table(["code", "pairs", "findings", "accepted", "share"], rows)


def mismatched(cohort: Path, folder: Path) -> Path:
    """The cohort with, beside its own, every report on every other exam (ids `exam--report`); images are links."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "exams").mkdir(parents=True)
    with (cohort / "reports.csv").open(newline="") as file:
        reports = list(csv.DictReader(file))
    rows = []
    for exam in reports:
        for report in reports:
            name = exam["exam_id"] if exam is report else f"{exam['exam_id']}--{report['exam_id']}"
            shutil.copytree(cohort / "exams" / exam["exam_id"], folder / "exams" / name, copy_function=os.link)
            rows.append(report | {"exam_id": name, "patient_id": name if exam is not report else exam["patient_id"]})
    with (folder / "reports.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def _accepted_of(home: Path) -> tuple[int, int, int]:
    """(pairs, findings that the text gives, lesions) of the mismatched exams of a home."""
    with duckdb.connect(str(home / "petar.duckdb"), read_only=True) as db:
        query = """select count(distinct exam_id), count(*), count(*) filter (outcome = 'lesion')
            from findings where exam_id like '%--%' and text_outcome = 'accepted'"""
        pairs, findings, lesions = db.execute(query).fetchall()[0]
    return pairs, findings, lesions


def no_slices(bench: Bench) -> None:
    """Reports that give SUV, organ and side, and no slice."""
    heading("Reports without slices", "SUV with organ and side; right: of the accepted; recall: of the reported")
    rows = []
    for share, title in ((0.0, "no organ maps"), (1.0, "organ maps")):
        settings = HardSettings(evidence="suv", organ_maps=share)
        cohorts = [bench.cohort(seed, settings, f"suv {title}") for seed in bench.seeds]
        for tree in bench.trees:
            scored = curated(bench, tree, cohorts)
            right = 1 - scored.wrongly if scored.n_accepted else float("nan")
            rows.append(
                [title, tree.name, str(len(scored.fates)), str(scored.n_accepted), f"{right:.1%}",
                 f"{scored.share('located'):.1%}", f"{scored.share('located', 'candidate'):.1%}"]
            )  # fmt: skip
    table(["exams with", "code", "lesions", "accepted", "right", "recall", "or right candidate"], rows)


def heading(title: str, note: str) -> None:
    """Prints a heading and what the figures are."""
    print(f"### {title}\n\n{note}\n", flush=True)


def table(head: list[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def write_failures(path: Path, scores: dict[str, Scored]) -> None:
    """Each lesion that was lost, and each with a Dice under 0.7, by checkout and kind."""
    lines = []
    for tree, scored in scores.items():
        lines.append(f"## {tree}\n")
        lost = [f for f in scored.fates if f.how != "located"]
        poor = sorted((f for f in scored.fates if f.how == "located" and f.dice < 0.7), key=lambda f: f.dice)
        lines += ["### Not located\n", *(_line(f) for f in lost), "\n### Dice under 0.7\n", *(_line(f) for f in poor)]
        lines += ["\n### Accepted wrongly\n"]
        lines += [
            f"- {w.exam_id}, slice {w.slice}, SUVmax {w.suvmax:.1f} at {w.peak_mm.round(1)}" for w in scored.wrong
        ]
        lines.append("")
    path.write_text("\n".join(lines))


def _line(fate: Fate) -> str:
    r = fate.reported
    words = f"slice {r.slice}, SUVmax {r.suvmax:.1f}, {r.volume_ml:.1f} mL ({', '.join(r.kinds)})"
    measured = f"Dice {fate.dice:.2f}, volume ratio {fate.volume_ratio:.2f}"
    return f"- {fate.how}: {r.mask.parents[1].name}/{r.exam_id} {r.site}, {words}, {measured}"


def main(
    seeds: Annotated[int, typer.Option(help="cohorts of each kind")] = 3,
    first: Annotated[int, typer.Option(help="first seed")] = 0,
    exams: Annotated[int, typer.Option(help="exams of a cohort")] = 16,
    only: Annotated[list[Part] | None, typer.Option(help="these parts alone")] = None,
    tree: Annotated[list[str] | None, typer.Option(help="NAME=FOLDER of a checkout that curates")] = None,
    failures: Annotated[Path | None, typer.Option(help="a list of what was lost or drawn poorly goes here")] = None,
    work: Annotated[Path | None, typer.Option(help="cohorts are drawn here and kept")] = None,
) -> None:
    """Prints the tables."""
    chosen = [name.partition("=") for name in tree or [f"this={ROOT}"]]
    trees = tuple(Tree(name, Path(folder).resolve()) for name, _, folder in chosen)
    parts = only or list(Part)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(range(first, first + seeds), exams, work or Path(scratch), trees)
        if Part.STATIONS in parts:
            plain = stations(bench, STATIONS)
            by_kind(plain)
            if failures:
                write_failures(failures, plain)
        if Part.MORE_STATIONS in parts:
            stations(bench, MORE_STATIONS)
        if Part.NO_SLICES in parts:
            no_slices(bench)
        if Part.WRONG in parts:
            wrong_exams(bench)


if __name__ == "__main__":
    typer.run(main)
