"""Which peak a finding means: all findings of an exam at once, as data association.

A finding is a noisy measurement of a peak (its value, its slice, its place), the peaks are targets and clutter. Each
candidate weighs, against "none of them",

    p / (1 - p) * g * K_value * K_slice * K_place / chance

with p the part of the findings whose peak is in the list, g how prominent the peak is, K how well value, slice and
place agree, and `chance` what the exam's own density of peaks gives such a finding by chance. The assignment of most
total weight decides (linear sum assignment with a "none" for each finding); it is accepted where the posterior is high
and every other assignment is far behind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtr

from pipelines.imaging.lesions.calibration import (
    SLICE_WEIGHTS,
    WIDE_SLICES,
    Calibration,
    CalibrationSource,
    Reported,
    interval,
    reported_slices,
    slices_per_pet_slice,
)
from pipelines.imaging.lesions.exam_peaks import ExamPeaks
from pipelines.imaging.lesions.location_words import Place, has_label, is_physiologic
from pipelines.imaging.volume import SliceGrid
from pipelines.settings import LocationSettings

ALONG_SIGMA = {1.0: 0.05, 0.5: 0.12}
"""Softness of the ends of an interval along the body, by the confidence of the frame."""
ACROSS_SIGMA = 0.06
"""The same across the body and in depth, as a part of half the width and of the depth."""
SIDE_MM = 8.0
"""Half the width of the band about the middle in which a peak is on both sides [mm]."""
OTHER_SIDE, OTHER_PLACE, OTHER_ZONE, OTHER_ORGAN, OTHER_UPTAKE = 0.03, 0.01, 0.03, 0.02, 0.05
"""What is left of the weight of a peak on the other side, elsewhere along the body, elsewhere across, far from the
named organ, and inside an organ with uptake of its own that the text does not name."""
FARTHEST_MIDDLE_MM = 60.0
"""Where the body's middle is farther from 0, the file's origin is no scanner's [mm]."""
_NEAR_LN, _NEAR_SLICES = 0.25, 30
"""Peaks within this ln of the value and so many slices tell what chance gives."""
_CERTAIN = 1e12
"""Odds of a peak that a person picked."""
WITHIN = 0.04
"""Weight of a slice that is not the peak's but within what is connected with it above its saddle, or within the size
that the text gives."""
SHOWN = 6
"""Candidates that are told at most."""


class Evidence(StrEnum):
    """What a location rests on."""

    SLICE_SUV = "slice+SUV"
    SUV_ORGAN = "SUV+organ"
    SUV_ZONE = "SUV+zone"
    SUV = "SUV"


@dataclass(frozen=True)
class Sought:
    """A finding to locate: its numbers and its place."""

    reported: Reported
    place: Place
    size_mm: float | None = None
    """Largest diameter in the text."""


@dataclass(frozen=True)
class Candidate:
    """A peak that a finding may mean: row in the list of peaks, and its share of the posterior."""

    peak: int
    weight: float


@dataclass(frozen=True)
class Location:
    """What became of a finding: its peak (null: none), whether that is accepted, and how sure it is.

    margin_nats: how far the best assignment without this pair is behind. chance_peaks: peaks that chance gives such a
    finding in this exam. candidates: the likeliest first. other_side: the peak at which the finding would be
    accepted on the side that its text does not name; null: none. nearest_suv: of the peaks about the slice the value
    nearest to the reported one, in the image's SUV; nearest_slice: reported number of the nearest slice that holds a
    peak of that value; null where there is none or the finding has no slice.
    """

    peak: int | None
    accepted: bool
    evidence: Evidence
    posterior: float
    margin_nats: float
    chance_peaks: float
    candidates: tuple[Candidate, ...] = ()
    other_side: int | None = None
    nearest_suv: float | None = None
    nearest_slice: int | None = None


@dataclass(frozen=True, eq=False)
class ExamLocations:
    """Locations of the findings of an exam, in their order; belongs_llr: how much likelier these findings are of this
    exam than of another, mirrored_llr: of it with left and right exchanged than as it is; null without a finding that
    tells."""

    locations: tuple[Location, ...]
    belongs_llr: float | None
    mirrored_llr: float | None


def locate(
    findings: Sequence[Sought],
    exam: ExamPeaks,
    calibration: Calibration,
    ct: SliceGrid | None = None,
    settings: LocationSettings = LocationSettings(),
    picked: Mapping[int, int] | None = None,
) -> ExamLocations:
    """The locations of all findings of an exam.

    Args:
        findings: what is looked for.
        exam: peaks, frame and organs of the image.
        calibration: how the report is read.
        ct: slices of the exam's CT as it was stored; null without a CT.
        settings: gates and the part of the findings that are in the image.
        picked: finding -> peak that a person picked for it: no other finding's.
    """
    n, m = len(findings), len(exam.peaks)
    if n == 0 or m == 0:
        nothing = [Location(None, False, evidence_of(f, exam), 0.0, 0.0, 0.0) for f in findings]
        return ExamLocations(tuple(nothing), None, None)
    numbered = reported_slices(calibration.convention, exam.peaks.ijk[:, 2], exam.slices, ct)
    per_slice = slices_per_pet_slice(calibration.convention, exam.slices, ct)
    prominence = prominence_weights(exam, settings.full_prominence)
    aways = [slices_away(f.reported, numbered, per_slice, calibration) for f in findings]
    weights = [prominence * place_weights(f.place, exam) for f in findings]
    mirrored = [prominence * place_weights(_mirror(f.place), exam) for f in findings]
    prior = settings.detected / (1 - settings.detected)

    def fits(weights: Sequence[NDArray[np.float64]], taken: Sequence[NDArray[np.int64]]) -> list[_Fit]:
        return [
            _fit(f, exam, w, calibration, away, t, settings) for f, w, away, t in zip(findings, weights, aways, taken)
        ]

    def odds_of(fits: Sequence[_Fit]) -> NDArray[np.float64]:
        odds = np.array([prior * f.odds for f in fits])
        for i, peak in (picked or {}).items():
            odds[i] = 0.0
            odds[i, peak] = _CERTAIN
        return odds

    none = [np.zeros(0, np.int64)] * n
    first = _assign(odds_of(fits(weights, none)))
    # The peaks of other findings are no chance peaks.
    surely = [peak for peak, posterior, _ in first if peak is not None and posterior > 0.5]
    taken = [np.array([p for p in surely if p != first[i][0]], np.int64) for i in range(n)]
    own, exchanged = fits(weights, taken), fits(mirrored, taken)
    odds = odds_of(own)
    belongs = sum(f.log_ratio for f in own)
    found = _assign(odds)
    locations = []
    for i, (peak, posterior, margin) in enumerate(found):
        evidence = evidence_of(findings[i], exam)
        accepted = (
            peak is not None
            and posterior >= settings.least_posterior
            and margin >= settings.least_margin_nats
            and belongs >= settings.least_belongs_llr
            and _may_be_accepted(evidence, calibration)
        )
        total = 1.0 + odds[i].sum()
        order = np.argsort(-odds[i], kind="stable")[:SHOWN]
        shown = tuple(Candidate(int(p), float(odds[i, p] / total)) for p in order if odds[i, p] > 0.02)
        nearest = _nearest(findings[i].reported, exam, calibration, numbered, per_slice)
        # A text that names a side is not overruled: what fits well on the other one is a contradiction to be told.
        elsewhere = int(exchanged[i].odds.argmax())
        other_side = (
            side_weights(findings[i].place.side, exam)[elsewhere] < 0.5
            and prior * exchanged[i].odds[elsewhere] >= settings.least_posterior * (1 + prior * exchanged[i].odds.sum())
            and (peak is None or peak == elsewhere)
        )
        accepted = accepted and not (
            peak is not None and side_weights(findings[i].place.side, exam)[peak] <= OTHER_SIDE
        )
        locations.append(
            Location(
                peak,
                bool(accepted),
                evidence,
                posterior,
                margin,
                own[i].chance,
                shown,
                elsewhere if other_side else None,
                *nearest,
            )
        )
    sided = any(f.place.side for f in findings)
    mirrored_llr = sum(f.log_ratio for f in exchanged) - belongs
    return ExamLocations(tuple(locations), belongs, mirrored_llr if sided else None)


BELONGS_DETECTED = 0.7
"""Part of the findings whose peak is in the list, where the question is whether report and image belong together: with
room for findings that are misread."""


@dataclass(frozen=True, eq=False)
class _Fit:
    """How well each peak suits a finding (m,), 0 to 1, and the peaks that chance gives it."""

    fit: NDArray[np.float64]
    chance: float

    @property
    def odds(self) -> NDArray[np.float64]:
        """Of each peak against none of them, where a finding is as likely in the list as not."""
        return self.fit / self.chance

    @property
    def log_ratio(self) -> float:
        """Log likelihood ratio of the finding with its best peak against chance."""
        return float(np.log(1 - BELONGS_DETECTED + BELONGS_DETECTED * self.odds.max()))


def _nearest(
    reported: Reported,
    exam: ExamPeaks,
    calibration: Calibration,
    numbered: NDArray[np.float64] | None,
    per_slice: float,
) -> tuple[float | None, int | None]:
    """Of the peaks about the reported slice the SUV nearest to the reported one; the slice nearest to it that holds a
    peak of that value."""
    away = slices_away(reported, numbered, per_slice, calibration)
    if away is None or numbered is None:
        return None, None
    meant = reported.suv / calibration.suv_scale
    about = np.flatnonzero(away <= NEAREST_SLICES)
    suv = float(exam.peaks.suv[about[np.abs(exam.peaks.suv[about] - meant).argmin()]]) if len(about) else None
    same = np.flatnonzero(np.abs(exam.peaks.suv - meant) <= np.maximum(reported.step_suv, 0.01 * meant))
    if not len(same):
        return suv, None
    at = numbered[same[away[same].argmin()]] + calibration.slice_offset * per_slice
    return suv, int(np.rint(at))


NEAREST_SLICES = 2
"""A peak no more slices away is about the reported slice."""


def _mirror(place: Place) -> Place:
    other = {"left": "right", "right": "left"}
    return replace(place, side=other.get(place.side or "")) if place.side else place


def evidence_of(finding: Sought, exam: ExamPeaks) -> Evidence:
    """What a finding's location rests on."""
    if finding.reported.slice is not None:
        return Evidence.SLICE_SUV
    if exam.organs is not None and finding.place.labels:
        return Evidence.SUV_ORGAN
    zoned = finding.place.along is not None and exam.frame.confidence > 0
    return Evidence.SUV_ZONE if zoned else Evidence.SUV


def _may_be_accepted(evidence: Evidence, calibration: Calibration) -> bool:
    """Without a slice and a place a value alone proves nothing, and where the calibration is an assumption only a slice
    beside the value does."""
    if calibration.source is CalibrationSource.NONE or evidence is Evidence.SUV:
        return False
    return calibration.source is not CalibrationSource.ASSUMED or evidence is Evidence.SLICE_SUV


def slices_away(
    reported: Reported, numbered: NDArray[np.float64] | None, per_slice: float, calibration: Calibration
) -> NDArray[np.float64] | None:
    """Distance of each peak from the reported slice in PET slices; null without a slice."""
    if reported.slice is None or numbered is None:
        return None
    # The offset is in PET slices, as the peaks are.
    return np.abs((reported.slice - numbered) / per_slice - calibration.slice_offset)


def _fit(
    finding: Sought,
    exam: ExamPeaks,
    weight: NDArray[np.float64],
    calibration: Calibration,
    away: NDArray[np.float64] | None,
    taken: NDArray[np.int64],
    settings: LocationSettings,
) -> _Fit:
    """The fit of a finding. weight: of each peak by all but value and slice; away: see `slices_away`; taken: peaks that
    other findings mean."""
    reported = finding.reported
    suv = exam.peaks.suv * calibration.suv_scale
    low, high = interval(reported, calibration.reading.rounding)
    sigma = np.maximum(calibration.reading.noise * suv, 1e-6)
    value = ndtr((high - suv) / sigma) - ndtr((low - suv) / sigma)
    near = np.abs(np.log(suv / reported.suv)) < _NEAR_LN
    span, width = 2 * _NEAR_LN, (high - low) / reported.suv
    least = settings.least_chance
    own = value >= 0.05
    fit = weight * value
    if away is not None:
        by_distance = SLICE_WEIGHTS[calibration.reading.spread]
        slices = np.append(by_distance, 0.0)[np.minimum(np.rint(away).astype(int), len(by_distance))]
        half_slices = np.maximum(exam.half_slices, (finding.size_mm or 0.0) / 2 / exam.slices.step_mm)
        slices = np.maximum(slices, WITHIN * (away <= half_slices))
        fit *= slices
        own &= slices >= by_distance[2]
        near &= away < _NEAR_SLICES
        width *= 2 * by_distance.sum() - by_distance[0]
        least *= (2 * by_distance.sum() - by_distance[0]) / WIDE_SLICES
        span *= 2 * _NEAR_SLICES
    near &= ~own
    near[taken] = False
    chance = (weight[near].sum() + 0.3) / span * width
    return _Fit(fit, max(float(chance), least))


def prominence_weights(exam: ExamPeaks, full_prominence: float) -> NDArray[np.float64]:
    """How likely a peak is one that a report measures, by its prominence (n,), 0.02 to 1."""
    peaks = exam.peaks
    return np.asarray(np.clip(peaks.prominence_suv / np.maximum(peaks.suv, 1e-6) / full_prominence, 0.02, 1.0))


def place_weights(place: Place, exam: ExamPeaks) -> NDArray[np.float64]:
    """How well each peak lies where a text says (n,), 0 to 1: side, place along and across the body, organ."""
    frame, ras, k = exam.frame, exam.ras_mm, exam.peaks.ijk[:, 2]
    weight = np.ones(len(ras))
    weight *= side_weights(place.side, exam)
    u = frame.along(ras)
    if place.along is not None and u is not None:
        weight *= _within(u, place.along, ALONG_SIGMA[frame.confidence], OTHER_PLACE)
    if place.lateral is not None:
        weight *= _within(frame.lateral(ras, k), place.lateral, ACROSS_SIGMA, OTHER_ZONE)
    if place.depth is not None:
        weight *= _within(frame.depth(ras, k), place.depth, ACROSS_SIGMA, OTHER_ZONE)
    if exam.organs is not None:
        weight *= _organ_weights(place, exam)
    return weight


def side_weights(side: str | None, exam: ExamPeaks) -> NDArray[np.float64]:
    """How well each peak lies on a side (n,), OTHER_SIDE to 1; 1 without a side. The middle is that of the body, or of
    the scanner where that is near: a peak that is right by either is right."""
    if side not in ("left", "right"):
        return np.ones(len(exam.ras_mm))
    sign = 1.0 if side == "right" else -1.0
    x = sign * exam.ras_mm[:, 0]
    by_body = sign * exam.frame.across(exam.ras_mm, exam.peaks.ijk[:, 2])
    middle = x - by_body
    by_scanner = np.where(np.abs(np.nan_to_num(middle)) <= FARTHEST_MIDDLE_MM, x, -np.inf)
    off = np.fmax(by_body, by_scanner)
    return np.asarray(np.clip(0.5 + off / SIDE_MM * 0.47, OTHER_SIDE, 1.0))


def _within(
    values: NDArray[np.float64], interval: tuple[float, float], sigma: float, least: float
) -> NDArray[np.float64]:
    off = np.maximum(0.0, np.maximum(interval[0] - values, values - interval[1]))
    return np.asarray(np.nan_to_num(np.maximum(np.exp(-0.5 * (off / sigma) ** 2), least), nan=1.0))


def _organ_weights(place: Place, exam: ExamPeaks) -> NDArray[np.float64]:
    assert exam.organs is not None
    names, distance = exam.organs.names, exam.organs.distance_mm
    weight = np.ones(len(distance))
    meant = [n for n, name in enumerate(names) if has_label(name, place.labels)]
    if meant:
        off = np.maximum(0.0, distance[:, meant].min(axis=1) - place.near_mm)
        soft = 6.0 if place.near_mm < 12 else 10.0
        weight *= np.maximum(np.exp(-0.5 * (off / soft) ** 2), OTHER_ORGAN)
    hot = [n for n, name in enumerate(names) if is_physiologic(name) and n not in meant]
    if hot:
        weight *= np.where((distance[:, hot] <= 0).any(axis=1), OTHER_UPTAKE, 1.0)
    return weight


def _assign(odds: NDArray[np.float64]) -> list[tuple[int | None, float, float]]:
    """Of each finding (row): peak, posterior, margin in nats, by the assignment of most total weight."""
    n = len(odds)
    used = np.flatnonzero(odds.max(axis=0) > 1e-3)
    score = np.full((n, len(used) + n), -1e6)
    score[:, : len(used)] = np.log(np.maximum(odds[:, used], 1e-300))
    score[np.arange(n), len(used) + np.arange(n)] = 0.0
    rows, columns = linear_sum_assignment(score, maximize=True)
    best = score[rows, columns].sum()
    found: list[tuple[int | None, float, float]] = []
    for i in range(n):
        at = columns[i]
        if at >= len(used):
            found.append((None, 0.0, 0.0))
            continue
        # What other findings surely are is no rival.
        taken = [columns[j] for j in range(n) if j != i and columns[j] < len(used) and odds[j, used[columns[j]]] > 9]
        free = np.setdiff1d(np.arange(len(used)), taken)
        without = score.copy()
        without[i, at] = -1e6
        r, c = linear_sum_assignment(without, maximize=True)
        posterior = odds[i, used[at]] / (odds[i, used[free]].sum() + 1)
        found.append((int(used[at]), float(posterior), float(best - without[r, c].sum())))
    return found
