"""What turns the numbers of a report into those of its image: scale of the SUV, offset and origin of the slices,
rounding and noise, estimated by likelihood.

Every finding is either one of the exam's peaks, read with some calibration, or something that the peaks do not hold;
what chance gives is the density of peaks of that value about that slice. The log likelihood of each calibration on a
grid, against "all is chance", adds up over findings, exams and scanners.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.volume import SliceGrid
from pipelines.settings import CalibrationSettings, Origin, SliceConvention, SliceGridKind

SCALE_STEP = 0.0025
"""Step of the grid of scales, as ln."""
LN_SCALES = np.arange(-240, 236) * SCALE_STEP
"""ln of report over image: 0.55 to 1.8."""
OFFSETS = np.arange(-8, 9)
"""Reported slice less that of the peak [slices]."""
NEAR_SCALES, NEAR_OFFSETS = 6, 1
"""Cells around the best that are the same calibration: 1.5 % and a slice."""
_UNIT_SCALE, _NO_OFFSET = 240, 8
"""Where scale 1 and offset 0 are on the grid."""
_CHANCE_LN = 0.5
"""Peaks within this ln of a value tell how many chance gives there."""


class Rounding(StrEnum):
    """How a workstation shortens a value."""

    ROUND = "round"
    CUT = "cut"


class SliceSpread(StrEnum):
    """How far from its peak a lesion is reported: on its slice, or where the reader happened to stop."""

    EXACT = "exact"
    LOOSE = "loose"


SLICE_WEIGHTS = {
    SliceSpread.EXACT: np.array([1.0, 0.1, 0.03, 0.01, 0.01, 0.01, 0.01]),
    SliceSpread.LOOSE: np.array([1.0, 0.6, 0.3, 0.08, 0.08, 0.08, 0.08]),
}
"""Weight of a peak so many slices from the reported one. LOOSE: trial on 684 exams."""


WIDE_SLICES = float(2 * SLICE_WEIGHTS[SliceSpread.LOOSE].sum() - 1)
"""Slices that a loosely reported slice stands for; the least chance is meant for these."""


@dataclass(frozen=True)
class Reading:
    """Precision of the numbers: how values are shortened, their noise beside that as a part of the value, and how far
    slices are off."""

    rounding: Rounding
    noise: float
    spread: SliceSpread


READINGS = tuple(
    Reading(rounding, noise, spread)
    for spread in SliceSpread
    for rounding, noise in ((Rounding.ROUND, 0.002), (Rounding.CUT, 0.002), (Rounding.ROUND, 0.01))
)
READING_PRIOR = np.array([0.8, 0.1, 0.1] * len(SliceSpread))


class CalibrationSource(StrEnum):
    """What a calibration was taken from."""

    SETTING = "setting"
    EXAM = "exam"
    SCANNER = "scanner"
    COHORT = "cohort"
    ASSUMED = "assumed"
    NONE = "none"


@dataclass(frozen=True)
class Calibration:
    """How an exam's report is read against its image.

    suv_scale: reported over measured SUV. convention: how slices are counted; slice_offset: reported slice less that of
    the peak. llr: log likelihood ratio of the exam's findings against chance. support: those of them that agree.
    """

    suv_scale: float = 1.0
    slice_offset: int = 0
    convention: SliceConvention = field(default_factory=SliceConvention)
    reading: Reading = READINGS[0]
    source: CalibrationSource = CalibrationSource.ASSUMED
    llr: float | None = None
    support: int = 0

    @property
    def values(self) -> tuple[Any, ...]:
        """What the rows of lesions depend on."""
        return (
            self.suv_scale,
            self.slice_offset,
            self.convention,
            self.reading,
            self.source in (CalibrationSource.ASSUMED, CalibrationSource.NONE),
            self.source is CalibrationSource.NONE,
        )


@dataclass(frozen=True)
class Reported:
    """The numbers of a finding: SUVmax, the step of its last digit, and its slice where it has one."""

    suv: float
    step_suv: float
    slice: int | None


def conventions_of(used: SliceConvention) -> tuple[SliceConvention, ...]:
    """The ways of counting slices that are tried, the one in use first. The number of the first slice is part of the
    offset."""
    grids = [used.grid, *(g for g in SliceGridKind if g is not used.grid)]
    origins = [used.origin, *(o for o in Origin if o is not used.origin)]
    return tuple(SliceConvention(origin=o, base=used.base, grid=g) for g in grids for o in origins)


def reported_slices(
    convention: SliceConvention, k: NDArray[np.int64], pet: SliceGrid, ct: SliceGrid | None
) -> NDArray[np.float64] | None:
    """How a report would number the PET slices k (n,); not rounded where it counts those of the CT; null where it
    counts those and there is no CT."""
    if convention.grid is SliceGridKind.PET:
        at, n = np.asarray(k, dtype=np.float64), pet.n_slices
    elif ct is None:
        return None
    else:
        at, n = np.asarray((pet.first_mm + k * pet.step_mm - ct.first_mm) / ct.step_mm), ct.n_slices
    return np.asarray((n - 1 - at if convention.origin is Origin.HEAD else at) + convention.base)


def slices_per_pet_slice(convention: SliceConvention, pet: SliceGrid, ct: SliceGrid | None) -> float:
    """Counted slices in the thickness of one PET slice."""
    return 1.0 if convention.grid is SliceGridKind.PET or ct is None else abs(pet.step_mm / ct.step_mm)


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Log likelihood ratio of each calibration of an exam against chance, (readings, conventions, scales, offsets),
    how many findings agree, and whether any has a slice."""

    llr: NDArray[np.float32]
    support: NDArray[np.int16]
    n_findings: int
    with_slice: bool

    def __add__(self, other: "Likelihood") -> "Likelihood":
        return Likelihood(
            self.llr + other.llr,
            self.support + other.support,
            self.n_findings + other.n_findings,
            self.with_slice or other.with_slice,
        )


UNIT = "unit"
"""Scale 1: the SUV of the volume."""
OTHER_NORM = 0.1
"""Prior of a cohort whose workstation prints one of the other predicted scales, beside that of scale 1."""


def predicted_scales(exam: Mapping[str, Any]) -> dict[str, float]:
    """Scales that an exam's header predicts, by name.

    They are those of workstations that print SUL (lean body mass by Janmahasatian or James), or that correct the decay
    to the time of the injection or of the scan. SUV by body surface has no place on the grid: in cm2/mL it is a quarter
    of the SUV.

    Args:
        exam: a row of `exams`.
    """
    found = {"sul": exam["sul_ratio"], "sul_james": exam["sul_james_ratio"]}
    uptake_s, half_life_s = exam["uptake_s"], exam["half_life_s"]
    if uptake_s and half_life_s:
        ratio = float(2.0 ** (-uptake_s / half_life_s))
        found |= {"injection": ratio, "scan": 1 / ratio}
    return {name: round(r, 4) for name, r in found.items() if r and 0.56 < r < 1.75 and round(r, 4) != 1.0}


def relative_to(likelihood: Likelihood, scale: float) -> Likelihood:
    """The likelihood with its scales relative to one that an exam's header predicts: such likelihoods of exams add up
    though each has a scale of its own. Only cells about it are kept, others are as unlikely as any."""
    shift = steps_of(scale)
    llr = np.full_like(likelihood.llr, likelihood.llr.min())
    support = np.zeros_like(likelihood.support)
    near = np.arange(_UNIT_SCALE - PREDICTED_STEPS, _UNIT_SCALE + PREDICTED_STEPS + 1)
    near = near[(near + shift >= 0) & (near + shift < len(LN_SCALES))]
    llr[:, :, near], support[:, :, near] = likelihood.llr[:, :, near + shift], likelihood.support[:, :, near + shift]
    return replace(likelihood, llr=llr, support=support)


def steps_of(scale: float) -> int:
    """A scale as steps of the grid from 1."""
    return round(float(np.log(scale)) / SCALE_STEP)


PREDICTED_STEPS = 8
"""Steps about a predicted scale that are kept: 2 %, as weights and times are rounded."""


def no_likelihood(n_conventions: int) -> Likelihood:
    """The likelihood of no finding: what sums start from."""
    shape = (len(READINGS), n_conventions, len(LN_SCALES), len(OFFSETS))
    return Likelihood(np.zeros(shape, np.float32), np.zeros(shape, np.int16), 0, False)


def exam_likelihood(
    findings: Sequence[Reported],
    suv: NDArray[np.float64],
    weights: Sequence[NDArray[np.float64]],
    slices: Sequence[tuple[NDArray[np.float64], float] | None],
    settings: CalibrationSettings,
) -> Likelihood:
    """The likelihood of an exam.

    Args:
        findings: what its report says.
        suv: values of its peaks (n,).
        weights: of each finding, how well each peak suits it otherwise (n,), 0 to 1.
        slices: of each convention, the reported number of each peak's slice (n,) and how many are in a PET slice; null
            where the exam has none, which leaves that convention at chance.
    """
    total = no_likelihood(len(slices))
    n_used = 0
    # In one order whatever the report's: sums of floats depend on it.
    order = sorted(range(len(findings)), key=lambda n: (findings[n].suv, findings[n].slice or 0, weights[n].sum()))
    for finding, weight in ((findings[n], weights[n]) for n in order):
        if finding.suv < settings.least_suv or not len(suv):
            continue
        n_used += 1
        for r, reading in enumerate(READINGS):
            low, high = interval(finding, reading.rounding)
            for c, numbered in enumerate(slices):
                if numbered is None:
                    continue
                away = np.full(len(suv), np.nan)
                if finding.slice is not None:
                    away = (finding.slice - numbered[0]) / numbered[1]
                _add(
                    total.llr[r, c],
                    total.support[r, c],
                    np.log(low / suv) - reading.noise,
                    np.log(high / suv) + reading.noise,
                    np.log(finding.suv / suv),
                    weight,
                    away,
                    SLICE_WEIGHTS[reading.spread],
                    settings.detected,
                    settings.least_chance,
                )
    with_slice = any(f.slice is not None for f in findings)
    return Likelihood(total.llr, total.support, n_used, with_slice)


def interval(finding: Reported, rounding: Rounding) -> tuple[float, float]:
    """The values that are printed as the finding's: (lowest, highest)."""
    if rounding is Rounding.CUT:
        return finding.suv, finding.suv + finding.step_suv
    return max(finding.suv - finding.step_suv / 2, 1e-3), finding.suv + finding.step_suv / 2


@numba.njit(cache=True)
def _add(llr, support, low, high, middle, weight, away, slice_weights, detected, least_chance):
    """Adds a finding to a grid (scales, offsets). low, high, middle: ln of its value's ends and its value over each
    peak's; away: slices from each peak (NaN: it has no slice)."""
    n_scales, n_offsets = llr.shape
    half = n_offsets // 2
    with_slice = len(away) > 0 and not np.isnan(away[0])
    cell = np.zeros((n_scales, n_offsets), np.float64)
    around = 0.0
    for p in range(len(low)):
        if with_slice and abs(away[p]) >= half + len(slice_weights):
            continue
        if abs(middle[p]) < _CHANCE_LN:
            around += weight[p]
        first = max(0, int(np.ceil((low[p] - LN_SCALES[0]) / SCALE_STEP)))
        last = min(n_scales - 1, int(np.floor((high[p] - LN_SCALES[0]) / SCALE_STEP)))
        if last < first and 0 <= first < n_scales and high[p] - low[p] < SCALE_STEP:
            last = first  # narrower than a step
        for s in range(first, last + 1):
            for d in range(n_offsets):
                value = weight[p]
                if with_slice:
                    off = int(np.rint(abs(away[p] - (d - half))))
                    value *= slice_weights[off] if off < len(slice_weights) else 0.0
                cell[s, d] = max(cell[s, d], value)
    width = high[0] - low[0]
    chance = (around + 0.3) / (2 * _CHANCE_LN) * width
    # The least chance is a density, so that a wider interval or a looser slice is never free.
    least_chance = least_chance * width / 0.015
    if with_slice:
        slices = 2 * slice_weights.sum() - slice_weights[0]
        chance *= slices / (n_offsets - 1 + 2 * len(slice_weights))
        least_chance *= slices / WIDE_SLICES
    chance = max(chance, least_chance)
    for s in range(n_scales):
        for d in range(n_offsets):
            llr[s, d] += np.log(1 - detected + detected * cell[s, d] / chance)
            support[s, d] += cell[s, d] > 0.3


def log_prior(n_conventions: int, spikes: Sequence[float], with_slice: bool) -> NDArray[np.float64]:
    """Log prior of each calibration, (readings, conventions, scales, offsets): mostly scale 1 and offset 0 as the
    settings count, else a scale that the header predicts (`spikes`), a few per cent off, anything."""
    scale = 0.25 * np.exp(-0.5 * (LN_SCALES / 0.03) ** 2) / (np.sqrt(2 * np.pi) * 0.03) * SCALE_STEP
    scale += 0.15 / len(LN_SCALES)
    for ratio, part in [(1.0, 0.5), *((s, 0.1 / len(spikes)) for s in spikes)]:
        scale[np.abs(LN_SCALES - np.log(ratio)).argmin()] += part
    far = np.abs(OFFSETS)
    offset = np.select([far == 0, far == 1, far < 4], [0.62, 0.1, 0.02], 0.012)
    convention = np.array([0.85, *[0.15 / max(1, n_conventions - 1)] * (n_conventions - 1)])
    if not with_slice:
        offset, convention = (far == 0) + 1e-12, (np.arange(n_conventions) == 0) + 1e-12
    parts = [np.log(p / p.sum()) for p in (READING_PRIOR, convention, scale, offset)]
    return np.asarray(
        parts[0][:, None, None, None] + parts[1][:, None, None] + parts[2][:, None] + parts[3], dtype=np.float64
    )


@dataclass(frozen=True)
class Estimate:
    """The best calibration of a likelihood: its cell, whether it passes the gates, and what speaks for it."""

    cell: tuple[int, int, int, int]
    ln_scale: float
    llr: float
    support: int
    decided: bool

    def at(self, scale: float) -> "Estimate | None":
        """The estimate, made relative to a predicted scale, for an exam of that scale; None off the grid."""
        r, c, s, d = self.cell
        s += steps_of(scale)
        if not 0 <= s < len(LN_SCALES):
            return None
        return replace(self, cell=(r, c, s, d), ln_scale=self.ln_scale + float(np.log(scale)))


def estimate(likelihood: Likelihood, prior: NDArray[np.float64], settings: CalibrationSettings) -> Estimate:
    """The best calibration. It is decided where it is far from chance, enough findings agree, and nothing elsewhere on
    the grid comes near."""
    posterior = likelihood.llr + prior
    r, c, s, d = (int(n) for n in np.unravel_index(int(posterior.argmax()), posterior.shape))
    mass = np.exp(posterior - posterior.max())
    scales, offsets = _around(s, NEAR_SCALES, len(LN_SCALES)), _around(d, NEAR_OFFSETS, len(OFFSETS))
    if not likelihood.with_slice:
        near = mass[:, :, scales].sum()
    else:
        # A CT on the grid of the PET counts as the PET does: conventions that nothing tells apart are one.
        llr = likelihood.llr
        equal = [n for n in range(llr.shape[1]) if np.allclose(llr[:, n], llr[:, c], atol=0.01)]
        near = mass[:, equal][:, :, scales, offsets].sum()
    part = mass[:, c, scales, d].sum(axis=0)
    mean = float((part * LN_SCALES[scales]).sum() / part.sum())
    top, support = float(posterior.max()), int(likelihood.support[r, c, s, d])
    decided = top >= settings.least_llr and support >= settings.least_support and near >= 0.95 * mass.sum()
    return Estimate((r, c, s, d), 0.0 if s == _UNIT_SCALE else mean, top, support, bool(decided))


def _around(at: int, reach: int, n: int) -> slice:
    return slice(max(0, at - reach), min(n, at + reach + 1))


def calibrate(
    exam: Likelihood,
    pooled: Sequence[tuple[CalibrationSource, Estimate]],
    conventions: Sequence[SliceConvention],
    spikes: Sequence[float],
    settings: CalibrationSettings,
) -> Calibration:
    """The calibration of an exam.

    Args:
        exam: its own likelihood.
        pooled: what the sums over its scanner and its cohort decide, the nearest first; undecided ones are passed over.
        conventions: of the axis of conventions.
        spikes: scales that the exam's header predicts.
        settings: gates, and values that are fixed.
    """
    general = log_prior(len(conventions), spikes, exam.with_slice)
    shared = next(((source, e) for source, e in pooled if e.decided), None)
    if shared is None:
        cell = (0, 0, _UNIT_SCALE, _NO_OFFSET)
        nothing = Estimate(cell, 0.0, 0.0, 0, False)
        own = estimate(exam, general, settings)
        found = _own_or(exam, general, own, cell, CalibrationSource.ASSUMED, nothing, settings)
    else:
        source, e = shared
        prior = np.logaddexp(np.log(0.1) + general, _only(general.shape, e.cell, exam.with_slice) + np.log(0.9))
        found = _own_or(exam, prior, estimate(exam, prior, settings), e.cell, source, e, settings)
    source, e = found
    return _fixed(_calibration(e, source, conventions, exam), settings, conventions[0])


def _only(shape: tuple[int, ...], cell: tuple[int, int, int, int], with_slice: bool) -> NDArray[np.float64]:
    """Log prior that holds a calibration for given, give or take a step of the scale."""
    prior = np.full(shape, -np.inf)
    r, c, s, d = cell
    scales = _around(s, 1, shape[2])
    prior[r, c, scales, d] = -np.log(scales.stop - scales.start)
    return prior


def _own_or(
    exam: Likelihood,
    prior: NDArray[np.float64],
    own: Estimate,
    cell: tuple[int, int, int, int],
    source: CalibrationSource,
    shared: Estimate,
    settings: CalibrationSettings,
) -> tuple[CalibrationSource, Estimate]:
    """The exam's own estimate where it differs and is decided, else the shared one, unless the exam speaks against
    it."""
    posterior = exam.llr + prior
    _, c, s, d = cell
    at_shared = float(posterior[:, c, _around(s, NEAR_SCALES, len(LN_SCALES)), _around(d, NEAR_OFFSETS, 17)].max())
    same = abs(own.cell[2] - s) <= NEAR_SCALES and (
        not exam.with_slice or (own.cell[1] == c and abs(own.cell[3] - d) <= NEAR_OFFSETS)
    )
    if own.decided and (source is CalibrationSource.ASSUMED or not same):
        return CalibrationSource.EXAM, own
    if not same and own.llr - at_shared >= settings.against_llr:
        return CalibrationSource.NONE, shared
    return source, shared


def _calibration(
    e: Estimate, source: CalibrationSource, conventions: Sequence[SliceConvention], exam: Likelihood
) -> Calibration:
    r, c, s, d = e.cell
    unknown = source is CalibrationSource.ASSUMED or source is CalibrationSource.NONE
    return Calibration(
        suv_scale=round(float(np.exp(e.ln_scale)), 3),
        slice_offset=int(OFFSETS[d]),
        convention=conventions[c],
        reading=READINGS[r],
        source=source,
        llr=None if unknown else round(float(exam.llr[r, c, s, d]), 1),
        support=int(exam.support[r, c, s, d]),
    )


def _fixed(found: Calibration, settings: CalibrationSettings, convention: SliceConvention) -> Calibration:
    """The calibration with what the settings fix in place of what was estimated."""
    if settings.suv_scale is None and settings.slice_offset is None:
        return found
    return Calibration(
        suv_scale=found.suv_scale if settings.suv_scale is None else settings.suv_scale,
        slice_offset=found.slice_offset if settings.slice_offset is None else settings.slice_offset,
        convention=found.convention if settings.slice_offset is None else convention,
        reading=found.reading,
        source=CalibrationSource.SETTING,
        llr=found.llr,
        support=found.support,
    )
