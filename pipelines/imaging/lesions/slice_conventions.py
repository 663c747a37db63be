"""Which slice convention an institution's reports follow: each is tried over a cohort and its match rate shown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.imaging.lesions.find_lesions import LesionRequest
from pipelines.imaging.lesions.location import Locator
from pipelines.imaging.volume import SliceGrid, Volume, pet_k_of, slices_of
from pipelines.settings import LocateSettings, Origin, SliceConvention, SliceGridKind

CONVENTIONS = tuple(
    SliceConvention(origin=origin, base=base, grid=grid)
    for grid in SliceGridKind
    for origin in Origin
    for base in (1, 0)
)
"""Every convention there is; the default comes first."""


@dataclass(frozen=True, eq=False)
class ConventionExam:
    """One exam's SUV volume, what its report says, and its CT's slices where it has a CT."""

    suv: Volume
    requests: Sequence[LesionRequest]
    ct_slices: SliceGrid | None = None


@dataclass(frozen=True)
class ConventionScore:
    """How a convention does: of n findings that it can be tried on, those whose SUVmax is the maximum of something
    on the slice (matched) and those whose peak is on that very slice (on_peak). rate is None where n is 0."""

    convention: SliceConvention
    n: int
    matched: int
    on_peak: int

    @property
    def rate(self) -> float | None:
        """Part of the findings that match."""
        return self.matched / self.n if self.n else None

    @property
    def peak_rate(self) -> float | None:
        """Part of the findings whose peak lies on the reported slice: tells apart conventions that differ by one
        slice."""
        return self.on_peak / self.n if self.n else None


def score_conventions(
    exams: Iterable[ConventionExam],
    conventions: Sequence[SliceConvention] = CONVENTIONS,
    settings: LocateSettings = LocateSettings(),
) -> list[ConventionScore]:
    """The score of each convention over exams that are taken one at a time, the best first.

    Equal scores keep the order of `conventions`. A report's slice is mostly that of its SUVmax, so on_peak decides.
    """
    counts = {c: [0, 0, 0] for c in conventions}
    for exam in exams:
        volume = exam.suv.canonical()
        locator = Locator(volume, settings)
        pet = slices_of(volume)
        for request in exam.requests:
            for convention in conventions:
                k = pet_k_of(convention, request.slice, pet, exam.ct_slices)
                if k is None:
                    continue
                counts[convention][0] += 1
                if not 0 <= k < pet.n_slices:
                    continue
                found = locator.published(k, request.suvmax_reported) or locator.basins(k, request.suvmax_reported)
                counts[convention][1] += bool(found)
                counts[convention][2] += any(c.slices_away == 0 for c in found)
    scores = [ConventionScore(c, *counts[c]) for c in conventions]
    return sorted(scores, key=lambda s: (-(s.peak_rate or 0.0), -(s.rate or 0.0)))
