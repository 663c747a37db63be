"""Location of pseudo-findings in the peaks of real exams, where hundreds of peaks compete: peaks are taken for lesions,
reported with rounded SUV, a slice that is sometimes off, a side and a place, and mixed with findings of
nothing. Prints a Markdown table.

usage: python -m benchmarks.real_peak_fields EXAM_FOLDER ... [--reports N] [--seed N]
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.hard_phantoms import heading, table
from benchmarks.phantom_scores import candidates_mm
from pipelines.curation.stages.peaks_stage import likelihood_of
from pipelines.imaging.lesions.calibration import (
    CalibrationSource,
    calibrate,
    conventions_of,
    estimate,
    log_prior,
    no_likelihood,
)
from pipelines.imaging.lesions.exam_peaks import ExamPeaks, exam_peaks
from pipelines.imaging.lesions.located import Located, locate_requests
from pipelines.imaging.lesions.location import place_weights
from pipelines.imaging.lesions.location_words import place_names, place_of
from pipelines.imaging.lesions.request import LesionRequest
from pipelines.imaging.reading.exam import read_exam
from pipelines.settings import LesionSettings
from pipelines.tables.outcomes import Outcome

LEAST_SUV, LEAST_PROMINENCE = 2.5, 0.3
"""A peak that is taken for a lesion has so much SUV, and stands out by this part of it."""
HIGHEST_OF_NOTHING_SUV = 20.0
"""A finding of nothing has between LEAST_SUV and this."""
OF_NOTHING = 0.15
"""Share of findings that no peak belongs to."""
SLICES_OFF, SHARES_OFF = (0, 1, 2, 3), (0.85, 0.1, 0.03, 0.02)
"""How far reported slices are off, and how often."""
MEAN_FINDINGS = 4.0
"""Of a report; at least 1."""
BANDS_SUV = ((LEAST_SUV, 5.0), (5.0, 8.0), (8.0, np.inf))
NEAR_MM = 6.0
"""A peak within it is the lesion's."""


@dataclass(frozen=True)
class PseudoFinding:
    """A finding of a pseudo-report, and the row of its peak; null: of nothing."""

    request: LesionRequest
    peak: int | None


@dataclass(frozen=True)
class Workstation:
    """How reports are printed."""

    scale: float = 1.0
    slice_offset: int = 0
    with_slice: bool = True


def pseudo_report(exam: ExamPeaks, station: Workstation, rng: np.random.Generator, name: str) -> list[PseudoFinding]:
    """The findings of a pseudo-report on an exam."""
    peaks = exam.peaks
    lesions = np.flatnonzero((peaks.suv >= LEAST_SUV) & (peaks.prominence_suv >= LEAST_PROMINENCE * peaks.suv))
    n = min(len(lesions), 1 + rng.poisson(MEAN_FINDINGS - 1))
    chosen = rng.choice(lesions, n, replace=False)
    return [_finding(exam, int(p), station, rng, f"{name}:{f}") for f, p in enumerate(chosen)]


def _finding(exam: ExamPeaks, p: int, station: Workstation, rng: np.random.Generator, name: str) -> PseudoFinding:
    off = int(rng.choice(SLICES_OFF, p=SHARES_OFF)) * int(rng.choice([-1, 1]))
    number = exam.slices.n_slices - int(exam.peaks.ijk[p, 2]) + station.slice_offset + off
    suv = float(exam.peaks.suv[p])
    words = _words(exam, p, rng)
    of_nothing = rng.random() < OF_NOTHING
    if of_nothing:
        # The value of a lesion elsewhere, on a slice of the body.
        suv = float(np.exp(rng.uniform(np.log(LEAST_SUV), np.log(HIGHEST_OF_NOTHING_SUV))))
        number = int(rng.integers(1, exam.slices.n_slices + 1))
    printed = round(suv * station.scale, 1)
    side = next((s for s in ("left", "right") if words.startswith(s)), None)
    at = f" (slice {number})" if station.with_slice else ""
    request = LesionRequest(
        name,
        f"A {words} lesion with SUVmax of {printed:.1f}{at}.",
        number if station.with_slice else None,
        printed,
        side,
    )
    return PseudoFinding(request, None if of_nothing else p)


def _words(exam: ExamPeaks, p: int, rng: np.random.Generator) -> str:
    """Side and place of a peak, in words that hold for it."""
    across = float(exam.frame.across(exam.ras_mm[p : p + 1], exam.peaks.ijk[p : p + 1, 2])[0])
    side = ("right " if across > 15 else "left " if across < -15 else "") if np.isfinite(across) else ""
    names = [w for w in place_names() if place_of(w).along is not None]
    holding = [w for w in names if place_weights(place_of(w, side=side.strip() or None), exam)[p] > 0.9]
    return side + (str(rng.choice(holding)) if holding else "")


def best_posterior(finding: PseudoFinding, station: Workstation, exam: ExamPeaks) -> float:
    """Posterior of a finding's own peak for one who knows how pseudo-reports are made; 0 for a finding of nothing.

    Which peaks are lesions, how far slices are off and how values are rounded is known to it: no location that accepts
    from a posterior on can accept more.
    """
    if finding.peak is None:
        return 0.0
    request, peaks = finding.request, exam.peaks
    lesions = (peaks.suv >= LEAST_SUV) & (peaks.prominence_suv >= LEAST_PROMINENCE * peaks.suv)
    fits = lesions & (np.abs(np.round(peaks.suv * station.scale, 1) - request.suvmax_reported) < 0.01)
    weight = fits * (place_weights(request.sought.place, exam) > 0.9) * (1 - OF_NOTHING) / lesions.sum()
    nothing = OF_NOTHING * 0.1 / request.suvmax_reported / np.log(HIGHEST_OF_NOTHING_SUV / LEAST_SUV)
    if request.slice is not None:
        off = np.abs(exam.slices.n_slices - peaks.ijk[:, 2] + station.slice_offset - request.slice)
        by_slice = [share / (2 if n else 1) for n, share in zip(SLICES_OFF, SHARES_OFF)]
        weight = weight * np.append(by_slice, 0.0)[np.minimum(off, len(by_slice))]
        nothing /= exam.slices.n_slices
    return float(weight[finding.peak] / (weight.sum() + nothing))


@dataclass
class Counts:
    """What became of pseudo-findings."""

    real: int = 0
    accepted: int = 0
    right: int = 0
    candidate: int = 0
    attainable: int = 0
    """Those whose own peak has a posterior from which a location is accepted, by `best_posterior`."""

    def add(self, finding: PseudoFinding, located: Located, exam: ExamPeaks, is_attainable: bool) -> None:
        """Counts one."""
        self.real += finding.peak is not None
        self.attainable += is_attainable
        is_accepted = located.outcome is None
        self.accepted += is_accepted
        if finding.peak is None:
            return
        truth = exam.ras_mm[finding.peak]
        if is_accepted:
            rows = np.flatnonzero((exam.peaks.ijk == np.array(located.peak_ijk)).all(axis=1))
            self.right += bool(np.linalg.norm(exam.ras_mm[rows[0]] - truth) <= NEAR_MM)
        elif located.outcome is Outcome.AMBIGUOUS:
            self.candidate += any(
                np.linalg.norm(at - truth) <= NEAR_MM for at in candidates_mm(located.columns["candidates"])
            )


def counted(
    exams: Sequence[ExamPeaks], station: Workstation, n_reports: int, seed: int
) -> dict[tuple[float, float], Counts]:
    """Counts by band of SUV over reports on these exams, which are calibrated as one cohort."""
    rng, settings = np.random.default_rng(seed), LesionSettings()
    conventions = conventions_of(settings.convention)
    reports = [
        (exam, pseudo_report(exam, station, rng, f"{n}-{r}")) for n, exam in enumerate(exams) for r in range(n_reports)
    ]
    grids = [likelihood_of([f.request for f in findings], exam, None, settings) for exam, findings in reports]
    total = no_likelihood(len(conventions))
    for grid in grids:
        total = total + grid
    shared = estimate(total, log_prior(len(conventions), (), total.with_slice), settings.calibration)
    counts = {band: Counts() for band in BANDS_SUV}
    for (exam, findings), grid in zip(reports, grids):
        made = calibrate(grid, [(CalibrationSource.COHORT, shared)], conventions, (), settings.calibration)
        found = locate_requests([f.request for f in findings], exam, made, None, settings)
        for finding, located in zip(findings, found):
            value = finding.request.suvmax_reported / station.scale
            band = next((b for b in BANDS_SUV if b[0] <= value < b[1]), BANDS_SUV[0])
            best = best_posterior(finding, station, exam)
            counts[band].add(finding, located, exam, best >= settings.location.least_posterior)
    return counts


def main(
    folders: list[Path],
    reports: Annotated[int, typer.Option(help="pseudo-reports on each exam")] = 50,
    seed: Annotated[int, typer.Option(help="of the pseudo-reports")] = 0,
) -> None:
    """Prints the table."""
    exams = []
    for folder in folders:
        exam = exam_peaks(read_exam(folder, folder.name).suv)
        prominent = exam.peaks.prominence_suv >= LEAST_PROMINENCE * exam.peaks.suv
        print(f"{folder.name}: {len(exam.peaks)} peaks, {prominent.sum()} prominent, frame {exam.frame.confidence:g}\n")
        exams.append(exam)
    heading(
        "Pseudo-findings on real peak fields",
        "right: of the accepted; recall: of those of a peak; attainable: see best_posterior",
    )
    rows = []
    for name, station in {
        "with slices": Workstation(),
        "with slices, scale 1.02, one slice off": Workstation(1.02, 1),
        "without slices": Workstation(with_slice=False),
    }.items():
        counts = counted(exams, station, reports, seed)
        for band, one in [*counts.items(), ((0.0, np.inf), summed(counts.values()))]:
            rows.append(
                [
                    name,
                    f"{band[0]:g} to {band[1]:g}" if band[0] else "all",
                    str(one.real),
                    str(one.accepted),
                    f"{one.right / max(1, one.accepted):.1%}",
                    f"{one.right / max(1, one.real):.1%}",
                    f"{one.attainable / max(1, one.real):.1%}",
                    f"{(one.right + one.candidate) / max(1, one.real):.1%}",
                ]
            )
    table(["reports", "SUV", "lesions", "accepted", "right", "recall", "attainable", "or right candidate"], rows)


def summed(counts: Iterable[Counts]) -> Counts:
    """All counts together."""
    counts = list(counts)
    return Counts(*(sum(getattr(c, f.name) for c in counts) for f in fields(Counts)))


if __name__ == "__main__":
    typer.run(main)
