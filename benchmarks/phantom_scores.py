"""Scores of a curation against the truth of a phantom cohort: each reported lesion's fate, and what was accepted."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import nibabel
import numpy as np
from numpy.typing import NDArray

NEAR_MM = 6.0
"""A peak within it is the lesion's: of the order of a scanner's resolution."""
PHYSIOLOGIC = "physiologic"
_SIZES = (("under 2 mL", 2.0), ("2 to 100 mL", 100.0), ("over 100 mL", np.inf))
SAME_SUV = 0.051
"""Two reported SUV are the same number."""


@dataclass(frozen=True)
class Reported:
    """A lesion of truth.csv. `kinds` name what is hard about it."""

    exam_id: str
    slice: int | None
    suvmax: float
    peak_mm: NDArray[np.float64]
    mask: Path
    volume_ml: float
    site: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Accepted:
    """A row of the view `lesions`."""

    exam_id: str
    slice: int | None
    suvmax: float
    peak_mm: NDArray[np.float64]
    mask: Path | None


@dataclass(frozen=True)
class Fate:
    """What became of a reported lesion: `located`, `elsewhere`, `candidate` (ambiguous, the right one among the
    candidates) or the reason of its rejection; the Dice of its mask, 0 where it was lost.
    """

    reported: Reported
    how: str
    dice: float
    volume_ratio: float


@dataclass(frozen=True)
class Scored:
    """A curation of a cohort: the fate of each reported lesion, and the accepted findings that are not right."""

    fates: tuple[Fate, ...]
    n_accepted: int
    wrong: tuple[Accepted, ...]

    def share(self, *hows: str) -> float:
        """Share of the reported lesions with one of these fates."""
        return sum(f.how in hows for f in self.fates) / max(1, len(self.fates))

    @property
    def wrongly(self) -> float:
        """Share of what was accepted that is not right."""
        return len(self.wrong) / max(1, self.n_accepted)

    @property
    def dices(self) -> list[float]:
        """Dice of every reported lesion, lost ones 0; physiologic uptake is none."""
        return [f.dice for f in self.fates if PHYSIOLOGIC not in f.reported.kinds]


def joined(scores: Iterable[Scored]) -> Scored:
    """The scores of several cohorts as one."""
    scores = list(scores)
    return Scored(
        tuple(f for s in scores for f in s.fates),
        sum(s.n_accepted for s in scores),
        tuple(w for s in scores for w in s.wrong),
    )


def score(home: Path, cohort: Path) -> Scored:
    """Scores the curation in `home` against `truth.csv` of the cohort."""
    reported = read_truth(cohort)
    with duckdb.connect(str(home / "petar.duckdb"), read_only=True) as db:
        accepted = _read_lesions(db, home)
        others = _read_rejected(db)
    fates, right = [], set[int]()
    for lesion in reported:
        mine = [n for n, a in enumerate(accepted) if n not in right and _is_same(a, lesion)]
        near = [n for n in mine if np.linalg.norm(accepted[n].peak_mm - lesion.peak_mm) <= NEAR_MM]
        if near:
            right.add(near[0])
            overlap, ratio = dice(accepted[near[0]].mask, lesion.mask)
            fates.append(Fate(lesion, "located", overlap, ratio))
        else:
            fates.append(Fate(lesion, "elsewhere" if mine else _rejection(lesion, others), 0.0, 0.0))
    wrong = tuple(a for n, a in enumerate(accepted) if n not in right)
    return Scored(tuple(fates), len(accepted), wrong)


def read_truth(cohort: Path) -> list[Reported]:
    """The lesions that the reports of a cohort name."""
    with (cohort / "truth.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["outcome"] == "lesion"]
    touched = {(r["exam_id"], r["touches"]) for r in rows if r["touches"]}
    found = []
    for r in rows:
        volume_ml = float(r["volume_ml"])
        in_chain = bool(r["touches"]) or (r["exam_id"], r["lesion_id"]) in touched
        kinds = [next(size for size, below_ml in _SIZES if volume_ml < below_ml)]
        kinds += [k for k, has in (("chain", in_chain), ("necrotic", r["necrotic"] == "True")) if has]
        if not r["organ"]:
            kinds = [PHYSIOLOGIC]
        found.append(
            Reported(
                r["exam_id"],
                int(r["slice"]) if r["slice"] else None,
                float(r["suvmax_reported"]),
                np.array(r["peak_ras_mm"].split(), float),
                cohort / "truth" / f"{r['mask']}.nii.gz",
                volume_ml,
                r["lesion_id"],
                tuple(kinds),
            )
        )
    return found


def _read_lesions(db: duckdb.DuckDBPyConnection, home: Path) -> list[Accepted]:
    rows = db.execute(
        "select exam_id, slice, suvmax_reported, peak_x_mm, peak_y_mm, peak_z_mm, mask_path from lesions"
    ).fetchall()
    return [Accepted(r[0], r[1], r[2], np.array(r[3:6], float), home / r[6] if r[6] else None) for r in rows]


def _read_rejected(db: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The findings that are no lesions, with their candidates where the curation writes any."""
    columns = [r[0] for r in db.execute("describe findings").fetchall()]
    wanted = [c for c in ("exam_id", "slice", "suvmax_reported", "outcome", "candidates") if c in columns]
    rows = db.execute(f"select {', '.join(wanted)} from findings where outcome <> 'lesion'").fetchall()
    return [dict(zip(wanted, row)) for row in rows]


def _is_same(accepted: Accepted, lesion: Reported) -> bool:
    return (
        accepted.exam_id == lesion.exam_id
        and accepted.slice == lesion.slice
        and accepted.suvmax is not None
        and abs(accepted.suvmax - lesion.suvmax) < SAME_SUV
    )


def _rejection(lesion: Reported, others: Sequence[dict[str, Any]]) -> str:
    """Why a lesion is none; `candidate` where it is ambiguous and the right peak is among the candidates."""
    mine = [
        o
        for o in others
        if (o["exam_id"], o["slice"]) == (lesion.exam_id, lesion.slice)
        and o["suvmax_reported"] is not None
        and abs(o["suvmax_reported"] - lesion.suvmax) < SAME_SUV
    ]
    if not mine:
        return "not read"
    near = [np.linalg.norm(c - lesion.peak_mm) <= NEAR_MM for o in mine for c in candidates_mm(o.get("candidates"))]
    return "candidate" if mine[0]["outcome"] == "ambiguous" and any(near) else str(mine[0]["outcome"])


def candidates_mm(value: Any) -> list[NDArray[np.float64]]:
    """Positions (RAS mm) of a finding's candidates: a list of records with x_mm, y_mm, z_mm, or its JSON."""
    records = json.loads(value) if isinstance(value, str) else value or []
    return [np.array([r["x_mm"], r["y_mm"], r["z_mm"]], float) for r in records]


def dice(mask: Path | None, truth: Path) -> tuple[float, float]:
    """Dice of two masks that are boxes of one grid, each with its own affine, and the ratio of their volumes."""
    if mask is None:
        return 0.0, 0.0
    ours, theirs = nibabel.load(mask), nibabel.load(truth)
    true = np.asarray(theirs.dataobj) > 0
    ijk = np.argwhere(np.asarray(ours.dataobj) > 0)
    step = np.linalg.inv(theirs.affine) @ ours.affine
    at = np.round(ijk @ step[:3, :3].T + step[:3, 3]).astype(int)
    inside = ((at >= 0) & (at < true.shape)).all(1)
    hit = true[tuple(at[inside].T)].sum()
    return float(2 * hit / max(1, len(ijk) + true.sum())), len(ijk) / max(1, true.sum())
