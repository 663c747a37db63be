"""All findings of one exam, located, contoured and measured together: one result a finding, a lesion or the reason
why not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging import masks
from pipelines.imaging.lesions.calibration import Calibration
from pipelines.imaging.lesions.clicks import NO_CLICKS, Clicks, clicks_of, focus_at
from pipelines.imaging.lesions.contour import NO_ORGANS, Described, ExamOrgans, contour, measured_organs
from pipelines.imaging.lesions.exam_peaks import ExamPeaks, exam_peaks
from pipelines.imaging.lesions.flags import NO_FLAGS, ContourFlags, flags_of, named_organs
from pipelines.imaging.lesions.liver import find_liver
from pipelines.imaging.lesions.located import PROBLEM, Ijk, Located, locate_requests, marked
from pipelines.imaging.lesions.location_words import has_own_uptake
from pipelines.imaging.lesions.measures import Measures, measure
from pipelines.imaging.lesions.overlaps import Claim, PlacedMask, boxes_meet, masks_meet, without_overlaps
from pipelines.imaging.lesions.region import Contour, StopReason, union
from pipelines.imaging.lesions.request import LesionRequest as LesionRequest
from pipelines.imaging.volume import SliceGrid, Volume
from pipelines.settings import LesionSettings
from pipelines.tables.outcomes import Outcome

STOPPED = {
    StopReason.LEAK: Outcome.LEAK,
    StopReason.FLAT: Outcome.FLAT,
    StopReason.TOO_SMALL: Outcome.TOO_SMALL,
    StopReason.BORDER: Outcome.BORDER,
    StopReason.NO_LIVER: Outcome.NO_LIVER,
}


@dataclass(frozen=True)
class ContourInputs:
    """Inputs of a contour besides the image, the request and the settings: the seed voxel, the
    other lesions' peaks in the contour's box, and the lesions that it had voxels in common with. Nothing else
    affects the contour.
    """

    peak_ijk: tuple[int, ...]
    box_low: tuple[int, ...]
    box_high: tuple[int, ...]
    neighbours: tuple[tuple[int, ...], ...]
    claim_low: tuple[int, ...]
    """Box of the region before what it had in common with others was divided."""
    claim_high: tuple[int, ...]
    cut_by: tuple[tuple[int, ...], ...]
    """Peaks of the lesions that voxels were divided with."""
    joined: tuple[tuple[int, ...], ...] = ()
    """Foci that a person joined with it."""

    @classmethod
    def of(cls, peak_ijk: Ijk, claim: Claim, others: NDArray[np.int64]) -> "ContourInputs":
        """The inputs of a contour that was made with `others` (n, 3) kept out."""
        low = np.array(claim.contour.corner)
        high = low + claim.contour.mask.shape
        near = _within(others, low, high)
        return cls(peak_ijk, _ints(low), _ints(high), near, *claim.box, claim.cut_by, claim.joined)

    @property
    def claim(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Half-open box (low, high) of the region before it was divided."""
        return self.claim_low, self.claim_high

    def holds(self, peak_ijk: Ijk, others: NDArray[np.int64], joined: tuple[Ijk, ...] = ()) -> bool:
        """Whether contouring the peak, and the foci joined with it, beside `others` would give the same again."""
        near = _within(others, np.array(self.box_low), np.array(self.box_high))
        if (self.peak_ijk, self.neighbours, self.joined) != (peak_ijk, near, joined):
            return False
        return set(self.cut_by) <= {_ints(p) for p in others}


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _within(points: NDArray[np.int64], low: Any, high: Any) -> tuple[tuple[int, ...], ...]:
    inside = points[((points >= low) & (points < high)).all(axis=1)]
    return tuple(sorted(_ints(p) for p in inside))


@dataclass(frozen=True, eq=False)
class KnownLesion:
    """What an earlier call made of the same request in the same image with the same settings."""

    contour_inputs: ContourInputs
    outcome: Outcome
    explanation: str
    mask: Callable[[], tuple[tuple[int, ...], NDArray[np.bool_]]] | None = None
    """Gives (corner, mask) of its contour on the image's grid; null where the mask was not kept."""


@dataclass(frozen=True, eq=False)
class LesionResult:
    """What became of one finding; the measures and the mask are there where a region was contoured, lesion or not."""

    request: LesionRequest
    outcome: Outcome
    explanation: str
    slice_k: int | None
    location: Mapping[str, Any]
    """Columns that say how it was located."""
    measures: Measures | None = None
    mask: Volume | None = None
    contour: Contour | None = None
    flags: ContourFlags = NO_FLAGS
    shares_with: tuple[str, ...] = ()
    contour_inputs: ContourInputs | None = None
    """Null where nothing was contoured."""
    known: KnownLesion | None = None
    """The earlier result, where it still holds; measures, mask and contour are null then."""
    clicks: Clicks = NO_CLICKS
    """What a person joined with it and cut off it."""

    @property
    def is_edited(self) -> bool:
        """Whether a person's click changed its contour."""
        return bool(self.clicks.joined or self.clicks.cut)

    @property
    def correction_problem(self) -> str | None:
        """What of its corrections could not be applied; null where all were."""
        return "; ".join(filter(None, (self.location.get(PROBLEM), *self.clicks.problems))) or None

    @property
    def tumour_to_background(self) -> float | None:
        """SUVmax over the mean of the shell around the contour; null where one is not known or the shell is at 0."""
        background = self.contour.background_suv if self.contour else None
        return self.measures.suvmax / background if self.measures and background else None

    def to_row(self) -> dict[str, Any]:
        """The columns of `lesions` that the images decide, by name; unknown is None. mask_path is the
        caller's."""
        empty = dict.fromkeys(Measures.__dataclass_fields__)
        made = self.contour
        return {
            "finding_id": self.request.finding_id,
            "outcome": self.outcome.value,
            "explanation": self.explanation,
            **self.location,
            "sentence": self.request.sentence,
            "slice": self.request.slice,
            "slice_k": self.slice_k,
            "suvmax_reported": self.request.suvmax_reported,
            **(self.measures.to_row() if self.measures else empty),
            "threshold_suv": made.threshold_suv if made else None,
            "background_suv": made.background_suv if made else None,
            "tumour_to_background": self.tumour_to_background,
            "iterations": made.iterations if made else None,
            "stop_reason": made.stop_reason.value if made else None,
            "method": made.method if made else None,
            **self.flags.to_row(),
            "shares_with": ", ".join(self.shares_with) or None,
        }


def write_mask(result: LesionResult, folder: Path) -> Path:
    """The path of a result's mask, written under a folder (the exam's) as its cropped box. ValueError where it has
    none."""
    if result.mask is None:
        raise ValueError(
            f"expected a lesion, finding {result.request.finding_id} is {result.outcome.value}: it has no mask"
        )
    return masks.save_mask(result.mask, folder, result.request.finding_id)


def find_lesions(
    suv: Volume,
    requests: Sequence[LesionRequest],
    settings: LesionSettings = LesionSettings(),
    ct_slices: SliceGrid | None = None,
    known: Mapping[str, KnownLesion] | None = None,
    exam: ExamPeaks | None = None,
    calibration: Calibration = Calibration(),
    organs: ExamOrgans = NO_ORGANS,
) -> list[LesionResult]:
    """One result a request, in their order: located, contoured with the others kept out, measured.

    All findings of an exam are located and settled together, as they compete for the same peaks; of those in `known`
    (by finding id) only the ones whose contour inputs changed are contoured again.

    suv: SUV volume in any orientation; positions come back in the RAS+ order of `suv.canonical()`. ct_slices: of the
    exam's CT, needed only where the report counts those. exam: its peaks, made where null. calibration: how the report
    is read. organs: label map on the canonical grid, and the liver's
    uptake. Never raises for a finding that is not there.
    """
    volume = suv.canonical()
    if volume.array.dtype != np.float32:
        volume = Volume(volume.array.astype(np.float32), volume.affine)
    if not requests:
        return []
    exam = exam or exam_peaks(volume, settings=settings.peaks)
    located = _located(requests, volume, exam, calibration, ct_slices, settings)
    foci = _Foci([one.peak_ijk for one in located], dict(clicks_of(located, volume)))
    if settings.contour.method == "percist" and organs.liver is None:
        organs = replace(organs, liver=find_liver(volume, organs.labels))
    organs = measured_organs(organs, volume, settings.contour)
    claims = _claims(located, foci, known or {}, volume, settings, organs)
    results = []
    for n, one in enumerate(located):
        if one.peak_ijk is None:
            results.append(_not_found(one))
        elif isinstance(claim := claims[n], Claim):
            results.append(_contoured(one, volume, claim, foci.others(n), settings, organs.labels))
        else:
            results.append(_kept(one, claim))
    return _with_shared([replace(result, clicks=foci.clicks.get(n, NO_CLICKS)) for n, result in enumerate(results)])


def _located(
    requests: Sequence[LesionRequest],
    volume: Volume,
    exam: ExamPeaks,
    calibration: Calibration,
    ct_slices: SliceGrid | None,
    settings: LesionSettings,
) -> list[Located]:
    """Where each finding is: those with an SUVmax settled together, those that a person marked at their marks."""
    sought = [r for r in requests if r.suvmax_reported is not None]
    found = {id(r): at for r, at in zip(sought, locate_requests(sought, exam, calibration, ct_slices, settings))}
    for request in requests:
        if id(request) not in found:
            peak = focus_at(volume, [float(v) for v in (request.candidate or "").split()])
            found[id(request)] = marked(request, peak, f"the mark at {request.candidate} mm lies outside the image")
    return [found[id(r)] for r in requests]


@dataclass(frozen=True)
class _Foci:
    """The peaks of an exam's findings, null where there is none, and by index what was joined with them or cut off."""

    peaks: Sequence[Ijk | None]
    clicks: dict[int, Clicks]

    def own(self, n: int) -> Clicks:
        return self.clicks.get(n, NO_CLICKS)

    def give_up(self, n: int, at: Ijk, stopped: Contour) -> None:
        """Notes that a focus could not be joined, for want of a contour of one of the two."""
        own = self.clicks[n]
        why = f"the focus at voxel {at[0]} {at[1]} {at[2]} is not joined: contour {stopped.stop_reason.value}"
        left = tuple(focus for focus in own.joined if focus != at)
        self.clicks[n] = replace(own, joined=left, problems=(*own.problems, why))

    def others(self, n: int) -> NDArray[np.int64]:
        """Voxels (m, 3) that the n-th finding keeps out, each once: foci of the others, and what was cut off it."""
        rest = {p for p in self.peaks if p is not None} | {p for c in self.clicks.values() for p in c.joined}
        rest = (rest | set(self.own(n).cut)) - {self.peaks[n], *self.own(n).joined}
        return np.array(sorted(p for p in rest if p is not None), dtype=np.int64).reshape(-1, 3)


def _claims(
    located: Sequence[Located],
    foci: _Foci,
    known: Mapping[str, KnownLesion],
    volume: Volume,
    settings: LesionSettings,
    organs: ExamOrgans,
) -> dict[int, Claim | KnownLesion]:
    """By index of the located findings their contours, disjoint for different peaks; what is known of those whose
    contour would come out as before."""
    made: dict[int, Contour] = {}
    kept: dict[int, KnownLesion] = {}

    def contour_of(n: int) -> Contour:
        request = located[n].request
        size_mm = None if request.size_cm is None else 10.0 * request.size_cm
        said = Described(size_mm, has_own_uptake(request.organ))
        grown = contour(volume, _peak(located[n]), foci.others(n), settings.contour, organs, said)
        for at in foci.own(n).joined:
            part = contour(volume, at, foci.others(n), settings.contour, organs, replace(said, size_mm=None))
            if part.stop_reason is grown.stop_reason is StopReason.CONVERGED:
                grown = union(grown, part)
            else:
                foci.give_up(n, at, grown if grown.stop_reason is not StopReason.CONVERGED else part)
        return grown

    for n, one in enumerate(located):
        before = known.get(one.request.finding_id)
        if one.peak_ijk is None:
            continue
        if (
            before
            and _same_verdict(one, before)
            and before.contour_inputs.holds(_peak(one), foci.others(n), foci.own(n).joined)
        ):
            kept[n] = before
        else:
            made[n] = contour_of(n)
    changed = True
    while changed:
        # What is divided between two takes both regions as they were; of the one that is known it was not kept.
        claims = [Claim(made[n], _peak(located[n]), joined=foci.own(n).joined) for n in made]
        meeting = [n for n, k in kept.items() if any(_may_share(k, claim) for claim in claims)]
        no_mask = [n for n, k in kept.items() if k.mask is None and _meets_another(n, kept)]
        changed = bool(meeting or no_mask)
        for n in {*meeting, *no_mask}:
            del kept[n]
            made[n] = contour_of(n)
    claims = [Claim(made[n], _peak(located[n]), joined=foci.own(n).joined) for n in made]
    return {**dict(zip(made, without_overlaps(claims, volume.spacing_mm))), **kept}


def _same_verdict(one: Located, before: KnownLesion) -> bool:
    """Whether the location of a finding decides of it what it did before."""
    return (one.outcome is Outcome.WRONG_SIDE) == (before.outcome is Outcome.WRONG_SIDE)


def _may_share(known: KnownLesion, claim: Claim) -> bool:
    """Whether the region of a known lesion, before it was divided, may have voxels in common with a claim."""
    if not boxes_meet(known.contour_inputs.claim, claim.box):
        return False
    if known.mask is None or known.contour_inputs.cut_by:
        return True
    return masks_meet((claim.contour.corner, claim.contour.mask), known.mask())


def _meets_another(n: int, kept: Mapping[int, KnownLesion]) -> bool:
    """Whether what was contoured of a finding reaches into another's box."""
    mine = kept[n].contour_inputs.claim
    return any(boxes_meet(mine, k.contour_inputs.claim) for m, k in kept.items() if m != n)


def _peak(one: Located) -> Ijk:
    assert one.peak_ijk is not None
    return one.peak_ijk


def _not_found(one: Located) -> LesionResult:
    assert one.outcome is not None
    return LesionResult(one.request, one.outcome, one.explanation, one.slice_k, one.columns)


def _kept(one: Located, known: KnownLesion) -> LesionResult:
    return LesionResult(
        one.request,
        known.outcome,
        known.explanation,
        one.slice_k,
        one.columns,
        contour_inputs=known.contour_inputs,
        known=known,
    )


def _contoured(
    one: Located,
    volume: Volume,
    claim: Claim,
    others: NDArray[np.int64],
    settings: LesionSettings,
    labels: NDArray[np.uint8] | None,
) -> LesionResult:
    made = claim.contour
    outcome = one.outcome or STOPPED.get(made.stop_reason, Outcome.LESION)
    explanation = one.explanation
    if one.outcome is None and outcome is not Outcome.LESION:
        explanation = f"contour: {made.stop_reason.value}"
    measured, mask, flags = None, None, NO_FLAGS
    if made.mask.any():
        measured = measure(volume, made.mask, made.corner)
        named = named_organs(one.request.sentence, one.request.organ)
        flags = flags_of(made, measured, labels, named, one.request.size_cm)
        if outcome is Outcome.LESION and flags.message:
            explanation += f"; {flags.message}"
        box = tuple(
            slice(a, b)
            for a, b in zip(
                (measured.box_i0, measured.box_j0, measured.box_k0), (measured.box_i1, measured.box_j1, measured.box_k1)
            )
        )
        inner: Any = tuple(slice(b.start - c, b.stop - c) for b, c in zip(box, made.corner))
        whole: Any = box
        mask = Volume(made.mask[inner].astype(np.uint8), volume.crop(whole).affine)
    return LesionResult(
        request=one.request,
        outcome=outcome,
        explanation=explanation,
        slice_k=one.slice_k,
        location=one.columns,
        measures=measured,
        mask=mask,
        contour=made,
        flags=flags,
        contour_inputs=ContourInputs.of(_peak(one), claim, others),
    )


def _with_shared(results: list[LesionResult]) -> list[LesionResult]:
    """The same results, each naming the findings whose contour it shares voxels with."""
    shared: list[list[str]] = [[] for _ in results]
    regions = [_region(r) for r in results]
    for a in range(len(results)):
        for b in range(a + 1, len(results)):
            if _both_meet(regions[a], regions[b]):
                shared[a].append(results[b].request.finding_id)
                shared[b].append(results[a].request.finding_id)
    return [replace(r, shares_with=tuple(s)) if s else r for r, s in zip(results, shared)]


def _region(result: LesionResult) -> PlacedMask | None:
    """(corner, mask) of a result's contour, null where it has none."""
    if result.known is not None:
        if result.known.mask is None:
            return None
        return result.known.mask()
    if result.measures is None or result.contour is None:
        return None
    return result.contour.corner, result.contour.mask


def _both_meet(a: PlacedMask | None, b: PlacedMask | None) -> bool:
    return a is not None and b is not None and masks_meet(a, b)
