"""What the images say of where each finding of an exam is: a voxel, or an outcome with its candidates."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.imaging.lesions.calibration import Calibration, CalibrationSource, reported_slices, slices_per_pet_slice
from pipelines.imaging.lesions.exam_peaks import ExamPeaks
from pipelines.imaging.lesions.location import Candidate, Evidence, ExamLocations, Location, locate
from pipelines.imaging.lesions.request import LesionRequest
from pipelines.imaging.volume import SliceGrid
from pipelines.settings import LesionSettings, SliceGridKind
from pipelines.tables.outcomes import Outcome

Ijk = tuple[int, int, int]

REVIEW = "review"
"""Evidence of a peak that a person picked."""
PROBLEM = "correction_problem"
"""Column that says what of a correction could not be applied."""
PICKED_MM = 6.0
"""A position that a person picks means the nearest peak within it: of the order of a scanner's resolution [mm]."""


@dataclass(frozen=True)
class Located:
    """Where a finding is. peak_ijk: its voxel; null where there is none. outcome: why it is no lesion, null where it
    may be one; a peak on the side that the text does not name comes with both, for a reviewer to decide. slice_k: index
    of the reported slice, null where it has none. evidence, columns: see the table of lesions.
    """

    request: LesionRequest
    peak_ijk: Ijk | None
    slice_k: int | None
    outcome: Outcome | None
    explanation: str
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def evidence(self) -> str:
        """What the location rests on."""
        return str(self.columns["evidence"])


def locate_requests(
    requests: Sequence[LesionRequest],
    exam: ExamPeaks,
    calibration: Calibration,
    ct: SliceGrid | None,
    settings: LesionSettings,
) -> list[Located]:
    """Where each finding of an exam is, in their order; all of them are settled together.

    Findings with the same numbers at the same place are one lesion that is named several times. A peak that a person
    picked for one of them is no other's.
    """
    units: dict[Any, list[int]] = {}
    for n, request in enumerate(requests):
        units.setdefault((request.sought.reported, request.sought.place, request.candidate), []).append(n)
    asked = [requests[rows[0]] for rows in units.values()]
    sought = [request.sought for request in asked]
    found = locate(sought, exam, calibration, ct, settings.location)
    own = {u: _pick(one.candidate, found.locations[u], exam) for u, one in enumerate(asked) if one.candidate}
    picked = {u: pick.peak for u, pick in own.items() if pick.peak is not None}
    locations = found.locations
    if picked:
        found = locate(sought, exam, calibration, ct, settings.location, picked)
        # Numbers of candidates are those that the reviewer saw.
        locations = tuple(
            before if u in own else now for u, (before, now) in enumerate(zip(locations, found.locations))
        )
    located: dict[int, Located] = {}
    context = _Context(exam, calibration, ct, settings, found)
    for u, (location, rows) in enumerate(zip(locations, units.values())):
        for n in rows:
            located[n] = _located(requests[n], location, own.get(u), context)
    return [located[n] for n in range(len(requests))]


@dataclass(frozen=True, eq=False)
class _Context:
    """What the findings of an exam have in common."""

    exam: ExamPeaks
    calibration: Calibration
    ct: SliceGrid | None
    settings: LesionSettings
    found: ExamLocations


@dataclass(frozen=True)
class _Pick:
    """The peak that a person picked, null where none is meant; what was said of it, and what to say where none is."""

    peak: int | None
    said: str
    missing: str


def _located(request: LesionRequest, location: Location, pick: _Pick | None, context: _Context) -> Located:
    exam, calibration, ct = context.exam, context.calibration, context.ct
    settings, found = context.settings, context.found
    k = _slice_k(request, exam, calibration, ct)
    columns = _columns(request, location, found, exam)
    ijk = [tuple(int(v) for v in exam.peaks.ijk[c.peak]) for c in location.candidates]
    if pick is not None and pick.peak is None:
        return Located(request, None, k, Outcome.AMBIGUOUS, pick.missing, {**columns, PROBLEM: pick.missing})
    if pick is not None and pick.peak is not None:
        said = f"{pick.said}, picked in review"
        return Located(request, _ijk(exam, pick.peak), k, None, said, {**columns, "evidence": REVIEW})
    if location.accepted and location.peak is not None:
        return Located(request, _ijk(exam, location.peak), k, None, f"by {location.evidence.value}", columns)
    if calibration.convention.grid is SliceGridKind.CT and ct is None and request.slice is not None:
        said = "reported slices count those of the CT, and the exam has none"
        return Located(request, None, None, Outcome.SLICE_OUTSIDE, said, columns)
    if k is not None and not 0 <= k < exam.slices.n_slices:
        said = f"slice {request.slice} of an exam with {exam.slices.n_slices} slices"
        return Located(request, None, k, Outcome.SLICE_OUTSIDE, said, columns)
    if calibration.source is CalibrationSource.NONE or (
        calibration.source is CalibrationSource.ASSUMED and request.slice is None
    ):
        said = "nothing tells how this exam's SUVs are to be read against its image"
        return Located(request, None, k, Outcome.NOT_CALIBRATED, said, columns)
    if location.other_side is not None:
        said = f"the sentence says {request.sought.place.side}, the peak of that value lies on the other side"
        return Located(request, _ijk(exam, location.other_side), k, Outcome.WRONG_SIDE, said, columns)
    if ijk and sum(c.weight for c in location.candidates) >= settings.location.least_shown:
        return Located(request, None, k, Outcome.AMBIGUOUS, _why_ambiguous(location, found, settings), columns)
    return Located(request, None, k, Outcome.NOT_IN_IMAGE, _miss(request, columns), columns)


def _ijk(exam: ExamPeaks, peak: int) -> Ijk:
    i, j, k = (int(v) for v in exam.peaks.ijk[peak])
    return i, j, k


def _pick(candidate: str, location: Location, exam: ExamPeaks) -> _Pick:
    """What a person picked, by the number of a candidate or by its position."""
    numbers = [float(part) for part in candidate.split()]
    if len(numbers) == 1:
        n, shown = int(numbers[0]), location.candidates
        missing = f"candidate {n} was picked of {len(shown)}: pick one of those that are told"
        return _Pick(shown[n - 1].peak if 1 <= n <= len(shown) else None, f"candidate {candidate}", missing)
    off = np.linalg.norm(exam.ras_mm - numbers, axis=1)
    peak = int(off.argmin()) if len(off) and off.min() <= PICKED_MM else None
    missing = f"no peak lies within {PICKED_MM:g} mm of {candidate}: pick one that does"
    return _Pick(peak, f"the peak at {candidate} mm", missing)


def _why_ambiguous(location: Location, found: ExamLocations, settings: LesionSettings) -> str:
    n = len(location.candidates)
    said = f"{n} peak{'s' * (n > 1)} may be meant, the likeliest with posterior {location.candidates[0].weight:.3f}"
    if found.belongs_llr is not None and found.belongs_llr < settings.location.least_belongs_llr:
        return f"{said}; the findings of the exam do not fit its image (llr {found.belongs_llr:.1f})"
    if location.evidence is Evidence.SUV:
        return f"{said}; the text gives no slice and no place"
    return f"{said}, {location.margin_nats:.1f} nats before any other assignment"


def _miss(request: LesionRequest, columns: dict[str, Any]) -> str:
    nearest, value = columns["nearest_slice_with_suvmax"], columns["nearest_suvmax_on_slice"]
    there = "nowhere a peak" if nearest is None else f"a peak nearest on slice {nearest}"
    if request.slice is None:
        return f"no peak of SUVmax {request.suvmax_reported:g} lies where the text says; it is {there}"
    held = "none" if value is None else f"{value:.1f}"
    said = f"SUVmax {request.suvmax_reported:g} is not on slice {request.slice} (nearest maximum there {held})"
    return f"{said}; it is {there}"


def _slice_k(request: LesionRequest, exam: ExamPeaks, calibration: Calibration, ct: SliceGrid | None) -> int | None:
    """Index k of the slice that a report means, which may lie outside; null without one."""
    if request.slice is None:
        return None
    at = np.array([0, 1])
    numbers = reported_slices(calibration.convention, at, exam.slices, ct)
    if numbers is None:
        return None
    meant = request.slice - calibration.slice_offset * slices_per_pet_slice(calibration.convention, exam.slices, ct)
    return int(np.rint((meant - numbers[0]) / (numbers[1] - numbers[0])))


def marked(request: LesionRequest, peak_ijk: Ijk | None, why: str) -> Located:
    """A lesion that a person marked: at the voxel that the mark means, or nowhere and `why`."""
    empty: dict[str, Any] = dict.fromkeys(LOCATION_COLUMNS)
    if peak_ijk is None:
        return Located(request, None, None, Outcome.NOT_IN_IMAGE, why, {**empty, PROBLEM: why})
    return Located(request, peak_ijk, None, None, "marked in review", {**empty, "evidence": REVIEW})


LOCATION_COLUMNS = (
    *("evidence", "posterior", "margin_nats", "n_candidates", "candidates", "chance_peaks", "place_used"),
    *("belongs_llr", "mirrored_llr", "nearest_suvmax_on_slice", "nearest_slice_with_suvmax"),
)
"""Columns of `lesions` that say how a finding was located."""


def _columns(request: LesionRequest, location: Location, found: ExamLocations, exam: ExamPeaks) -> dict[str, Any]:
    shown = [_told(n, c, exam) for n, c in enumerate(location.candidates, start=1)]
    return {
        "evidence": location.evidence.value,
        "posterior": location.posterior,
        "margin_nats": min(location.margin_nats, 1e3),
        "n_candidates": len(shown),
        "candidates": json.dumps(shown) if shown else None,
        "chance_peaks": location.chance_peaks,
        "place_used": request.sought.place.named,
        "belongs_llr": found.belongs_llr,
        "mirrored_llr": found.mirrored_llr,
        "nearest_suvmax_on_slice": location.nearest_suv,
        "nearest_slice_with_suvmax": location.nearest_slice,
    }


def _told(n: int, candidate: Candidate, exam: ExamPeaks) -> dict[str, Any]:
    p, peaks = candidate.peak, exam.peaks
    x, y, z = (round(float(v), 1) for v in exam.ras_mm[p])
    return {
        "n": n,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "suv": round(float(peaks.suv[p]), 2),
        "prominence": round(float(peaks.prominence_suv[p]), 2),
        "organ": None if exam.organs is None else exam.organs.inside(p),
        "weight": round(candidate.weight, 3),
    }
