"""Lesions of an exam and of the exam before it that are the same one.

All lesions of the two are assigned together (Hungarian method) by the distance that the registration leaves, organ and
side. A link counts where every other way of linking is clearly worse; else the lesions are `not linked`, with the
reason. Several lesions that lie for the greater part in one of the other exam, and in no other, have split from it or
merged into it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from pipelines.followup.exam_pairs import registration_of
from pipelines.followup.registration import Registration
from pipelines.imaging.volume import Volume
from pipelines.settings import FollowupSettings
from pipelines.tables import schemas
from pipelines.tables.hashing import hash_of
from pipelines.tables.pair_reasons import LinkState
from pipelines.tables.provenance import code_version

OTHER_ORGAN_MM, OTHER_SIDE_MM = 15.0, 40.0
"""What another organ or the other side costs, in mm of distance: texts name one place differently, sides rarely."""
NEAR_MM = 4.0
"""A voxel lies in a lesion's extent where it is no farther from one of its voxels: the size of a voxel of a PET."""
FARTHEST_OF_SPACING = 0.5
"""A lesion that lies farther than this part of the way to its next neighbour cannot be told from that neighbour: one of
the two may have gone, and the other not have been described.
"""
_MEASURES = ("suvmax", "suvpeak", "mtv_ml", "tlg")
_NEVER = 1e6

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinkLesion:
    """A lesion to link: the findings of one peak.

    Args:
        rows: its findings, as rows of the view `lesions`.
        points_mm: (n, 3) centres of its mask's voxels, RAS mm.
    """

    rows: tuple[Mapping[str, Any], ...]
    points_mm: Floats

    @property
    def row(self) -> Mapping[str, Any]:
        """That of its first finding."""
        return self.rows[0]

    @property
    def centre_mm(self) -> Floats:
        """Centroid of its mask, RAS mm."""
        return self.points_mm.mean(0)

    @property
    def radius_mm(self) -> float:
        """Of a sphere of its volume."""
        return float(np.cbrt(3000.0 * self.row["mtv_ml"] / (4.0 * np.pi)))


@dataclass(frozen=True)
class Link:
    """What became of a lesion: indices into the prior exam's lesions and the exam's."""

    state: LinkState
    prior: tuple[int, ...]
    now: tuple[int, ...]
    distance_mm: float | None = None
    explanation: str | None = None


def lesions_to_link(lesions: pl.DataFrame, mask_of: Callable[[Mapping[str, Any]], Volume]) -> list[LinkLesion]:
    """The lesions of one exam, without physiologic uptake; findings with one peak are one lesion.

    Args:
        lesions: rows of `lesions` joined with organ, laterality, comparison and is_physiologic of `findings`.
        mask_of: row -> its mask.
    """
    by_peak: dict[tuple[int, int, int], list[Mapping[str, Any]]] = {}
    for row in lesions.sort("finding_id").iter_rows(named=True):
        if not row["is_physiologic"]:
            by_peak.setdefault((row["peak_i"], row["peak_j"], row["peak_k"]), []).append(row)
    made = []
    for rows in by_peak.values():
        mask = mask_of(rows[0])
        made.append(LinkLesion(tuple(rows), mask.to_ras_mm(np.argwhere(mask.array > 0))))
    return made


def link(
    prior: Sequence[LinkLesion], now: Sequence[LinkLesion], registration: Registration, settings: FollowupSettings
) -> list[Link]:
    """What became of every lesion of two exams; each is in exactly one link."""
    moved = [registration.follow(lesion.points_mm) for lesion in prior]
    inside_prior = [[_is_held(b.points_mm, points) for b in now] for points in moved]
    inside_now = [[_is_held(points, b.points_mm) for points in moved] for b in now]
    links = [Link(LinkState.SPLIT, (a,), parts, _distance(moved[a], now, parts)) for a, parts in _parts(inside_prior)]
    taken_a, taken_b = {a for one in links for a in one.prior}, {b for one in links for b in one.now}
    for b, sources in _parts(inside_now):
        if b not in taken_b and not taken_a & set(sources):
            whole = np.vstack([moved[a] for a in sources])
            links.append(Link(LinkState.MERGED, sources, (b,), _distance(whole, now, (b,))))
            taken_a, taken_b = taken_a | set(sources), taken_b | {b}
    cost = np.array([[_cost(a, points, b, settings) for b in now] for a, points in zip(prior, moved)])
    cost = cost.reshape(len(prior), len(now))
    cost[list(taken_a), :] = cost[:, list(taken_b)] = _NEVER
    several = f"another link of these lesions is as near, by less than {settings.least_margin_mm:g} mm"
    centres = [points.mean(0) for points in moved], [lesion.centre_mm for lesion in now]
    for a, b in _assigned(cost, settings.gate_mm):
        taken_a, taken_b = taken_a | {a}, taken_b | {b}
        distance = _distance(moved[a], now, (b,))
        apart = min(_to_next(centres[0], a), _to_next(centres[1], b))
        if _margin(cost, (a, b), settings.gate_mm) < settings.least_margin_mm:
            said = several
        elif distance > FARTHEST_OF_SPACING * apart:
            said = f"it lies {distance:.0f} mm from there, and another lesion only {apart:.0f} mm beside it"
        else:
            links.append(Link(LinkState.PERSISTING, (a,), (b,), distance))
            continue
        links += [Link(LinkState.NOT_LINKED, (a,), (), explanation=said)]
        links += [Link(LinkState.NOT_LINKED, (), (b,), explanation=said)]
    links += [Link(LinkState.GONE, (a,), ()) for a in range(len(prior)) if a not in taken_a]
    return links + [Link(LinkState.NEW, (), (b,)) for b in range(len(now)) if b not in taken_b]


def _to_next(centres_mm: Sequence[Floats], index: int) -> float:
    """Distance from a lesion to the nearest other one of its exam, in mm; infinite where it is alone."""
    own = centres_mm[index]
    return min((float(np.linalg.norm(at - own)) for n, at in enumerate(centres_mm) if n != index), default=np.inf)


def _parts(inside: Sequence[Sequence[bool]]) -> list[tuple[int, tuple[int, ...]]]:
    """The lesions of one exam that hold several of the other, which lie in no other lesion."""
    found = []
    for a, row in enumerate(inside):
        parts = tuple(
            b for b, is_in in enumerate(row) if is_in and not any(other[b] for n, other in enumerate(inside) if n != a)
        )
        if len(parts) > 1:
            found.append((a, parts))
    return found


def _distance(moved_mm: Floats, now: Sequence[LinkLesion], parts: Sequence[int]) -> float:
    """Between the centroids of lesions before and now, in mm."""
    return float(np.linalg.norm(moved_mm.mean(0) - np.vstack([now[b].points_mm for b in parts]).mean(0)))


def _cost(prior: LinkLesion, moved_mm: Floats, now: LinkLesion, settings: FollowupSettings) -> float:
    """What linking two lesions costs, in mm; `_NEVER` beyond the gate."""
    distance = float(np.linalg.norm(moved_mm.mean(0) - now.centre_mm))
    organs = {prior.row["organ"], now.row["organ"]} - {None}
    sides = {prior.row["laterality"], now.row["laterality"]} & {"left", "right"}
    cost = distance + OTHER_ORGAN_MM * (len(organs) > 1) + OTHER_SIDE_MM * (len(sides) > 1)
    gate = max(settings.gate_mm, prior.radius_mm + now.radius_mm)
    return cost if cost <= gate else _NEVER


def _assigned(cost: Floats, gate_mm: float) -> list[tuple[int, int]]:
    """The pairs (prior, now) of the cheapest assignment; two lesions without a link cost twice the gate."""
    if cost.size == 0:
        return []
    n, m = cost.shape
    square = np.full((n + m, n + m), 0.0)
    square[:n, :m] = cost
    square[:n, m:] = np.where(np.eye(n, dtype=bool), gate_mm, _NEVER)
    square[n:, :m] = np.where(np.eye(m, dtype=bool), gate_mm, _NEVER)
    rows, columns = linear_sum_assignment(square)
    return [(int(i), int(j)) for i, j in zip(rows, columns) if i < n and j < m and cost[i, j] < _NEVER]


def _margin(cost: Floats, pair: tuple[int, int], gate_mm: float) -> float:
    """By how much all links together cost more where one of them is forbidden, in mm."""
    without = cost.copy()
    without[pair] = _NEVER
    return _total(without, gate_mm) - _total(cost, gate_mm)


def _total(cost: Floats, gate_mm: float) -> float:
    pairs = _assigned(cost, gate_mm)
    linked = sum(float(cost[pair]) for pair in pairs)
    return linked + gate_mm * (sum(cost.shape) - 2 * len(pairs))


def _is_held(part_mm: Floats, whole_mm: Floats) -> bool:
    """Whether the greater part of a lesion's voxels lies in the extent of another lesion."""
    distance, _ = cKDTree(whole_mm).query(part_mm, distance_upper_bound=NEAR_MM)
    return bool(np.isfinite(distance).mean() > 0.5)


@dataclass(frozen=True)
class LinkInputs:
    """What links are made from.

    Args:
        pairs: rows of `exam_pairs`.
        lesions: exam -> its lesions (`lesions_to_link`).
        is_scanned: (exam, points (n, 3) RAS mm) -> whether each lies in its image.
        settings: gate and margin.
    """

    pairs: pl.DataFrame
    lesions: Callable[[str], list[LinkLesion]]
    is_scanned: Callable[[str, Floats], NDArray[np.bool_]]
    settings: FollowupSettings


def lesion_links(inputs: LinkInputs) -> pl.DataFrame:
    """Rows of `lesion_links`: a row a link of a finding of an exam with one of the exam before, and one for each lesion
    that is linked with none.
    """
    rows: list[dict[str, Any]] = []
    tracks: dict[str, str] = {}
    known: dict[str, list[LinkLesion]] = {}

    def lesions(exam_id: str) -> list[LinkLesion]:
        if exam_id not in known:
            known[exam_id] = inputs.lesions(exam_id)
        return known[exam_id]

    # Prior exams first: a lesion takes over the name that it is tracked by.
    by_exam = {row["exam_id"]: row for row in inputs.pairs.iter_rows(named=True)}
    for pair in sorted(by_exam.values(), key=lambda row: _depth(row, by_exam)):
        registration = registration_of(pair)
        if registration is None:
            continue
        prior, now = lesions(pair["prior_exam_id"]), lesions(pair["exam_id"])
        for one in link(prior, now, registration, inputs.settings):
            one = _where_scanned(one, prior, now, pair, registration, inputs)
            rows += _rows(one, prior, now, pair, tracks)
    return schemas.frame("lesion_links", sorted(rows, key=lambda row: str(row["link_id"])))


def _depth(pair: Mapping[str, Any], by_exam: Mapping[str, Mapping[str, Any]]) -> tuple[int, str]:
    depth, at = 0, pair
    while at["prior_exam_id"] in by_exam:
        depth, at = depth + 1, by_exam[at["prior_exam_id"]]
    return depth, pair["exam_id"]


def _where_scanned(
    one: Link,
    prior: Sequence[LinkLesion],
    now: Sequence[LinkLesion],
    pair: Mapping[str, Any],
    registration: Registration,
    inputs: LinkInputs,
) -> Link:
    """The link; a new or vanished lesion that lies where the other exam was not scanned is `not linked`."""
    if one.state is LinkState.GONE:
        at, exam_id = registration.follow(prior[one.prior[0]].centre_mm[None]), pair["exam_id"]
    elif one.state is LinkState.NEW:
        at, exam_id = registration.back(now[one.now[0]].centre_mm[None]), pair["prior_exam_id"]
    else:
        return one
    if inputs.is_scanned(exam_id, at)[0]:
        return one
    return Link(LinkState.NOT_LINKED, one.prior, one.now, explanation=f"exam {exam_id} was not scanned there")


def _rows(
    one: Link,
    prior: Sequence[LinkLesion],
    now: Sequence[LinkLesion],
    pair: Mapping[str, Any],
    tracks: dict[str, str],
) -> list[dict[str, Any]]:
    """The rows of a link: each finding of now with the first finding of each lesion of before."""
    changes = _changes([prior[i].row for i in one.prior], [now[j].row for j in one.now])
    made = []
    before_all: list[LinkLesion | None] = [prior[i] for i in one.prior]
    now_all: list[LinkLesion | None] = [now[j] for j in one.now]
    for a in before_all or [None]:
        for b in now_all or [None]:
            before = None if a is None else str(a.row["finding_id"])
            for finding in (None,) if b is None else b.rows:
                finding_id = None if finding is None else str(finding["finding_id"])
                if finding_id is not None and before is not None:
                    tracks.setdefault(finding_id, tracks.get(before, before))
                own = finding_id or before or ""
                made.append(
                    {
                        "link_id": f"{pair['exam_id']}|{before or '-'}|{finding_id or '-'}",
                        "exam_id": pair["exam_id"],
                        "patient_id": pair["patient_id"],
                        "row_key": hash_of(code_version(__name__), pair["row_key"], one.state, before, finding_id),
                        "prior_exam_id": pair["prior_exam_id"],
                        "finding_id": finding_id,
                        "prior_finding_id": before,
                        "tracked_as": tracks.get(own, own),
                        "state": one.state,
                        "explanation": one.explanation,
                        "distance_mm": one.distance_mm,
                        "days": pair["days"],
                        "comparison": None if finding is None else finding["comparison"],
                        **changes,
                    }
                )
    return made


def _changes(prior: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Changes in % of what was before: the hottest of several lesions, and the sum of their volumes and TLG."""
    changes: dict[str, float | None] = {}
    for name in _MEASURES:
        before, after = ([row[name] for row in rows] for rows in (prior, now))
        is_known = before and after and None not in before and None not in after
        total = max if name.startswith("suv") else sum
        if not is_known or total(before) <= 0:
            changes[f"{name}_change_percent"] = None
        else:
            changes[f"{name}_change_percent"] = 100.0 * (total(after) / total(before) - 1.0)
    return changes
