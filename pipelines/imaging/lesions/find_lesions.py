"""All findings of one exam, located, contoured and measured together: one result a finding, a lesion or the reason
why not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging import masks
from pipelines.imaging.lesions.contour import NO_ORGANS, ExamOrgans, contour, measured_organs
from pipelines.imaging.lesions.flags import NO_FLAGS, ContourFlags, flags_of, named_organs
from pipelines.imaging.lesions.liver import find_liver
from pipelines.imaging.lesions.location import ROUNDING_SUV, Candidate, Ijk, Locator, NearestMiss
from pipelines.imaging.lesions.location_words import body_extent, width_mm, zone_of
from pipelines.imaging.lesions.measures import Measures, measure
from pipelines.imaging.lesions.overlaps import Claim, PlacedMask, boxes_meet, masks_meet, without_overlaps
from pipelines.imaging.lesions.region import Contour, StopReason
from pipelines.imaging.volume import SliceGrid, Volume, pet_k_of, pet_slice_of, slices_of
from pipelines.settings import LesionSettings, LocateSettings
from pipelines.tables.outcomes import Outcome

STOPPED = {
    StopReason.LEAK: Outcome.LEAK,
    StopReason.FLAT: Outcome.FLAT,
    StopReason.TOO_SMALL: Outcome.TOO_SMALL,
    StopReason.BORDER: Outcome.BORDER,
    StopReason.NO_LIVER: Outcome.NO_LIVER,
}


NO_MISS = NearestMiss(None, None)


@dataclass(frozen=True)
class LesionRequest:
    """A finding to look for: its reported slice and SUVmax, and the one side that its text names (None: no side, or
    both)."""

    finding_id: str
    sentence: str
    slice: int
    suvmax_reported: float
    laterality: str | None = None
    organ: str | None = None
    size_cm: float | None = None
    """Largest diameter in the text."""


@dataclass(frozen=True)
class ContourInputs:
    """Inputs of a contour besides the image, the request and the settings: the seed voxel, the rule that selected it,
    the other lesions' peaks in the contour's box, and the lesions that it had voxels in common with. Nothing else
    affects the contour.
    """

    peak_ijk: tuple[int, ...]
    rule: str
    box_low: tuple[int, ...]
    box_high: tuple[int, ...]
    neighbours: tuple[tuple[int, ...], ...]
    claim_low: tuple[int, ...]
    """Box of the region before what it had in common with others was divided."""
    claim_high: tuple[int, ...]
    cut_by: tuple[tuple[int, ...], ...]
    """Peaks of the lesions that voxels were divided with."""

    @classmethod
    def of(cls, candidate: Candidate, claim: Claim, others: NDArray[np.int64]) -> "ContourInputs":
        """The inputs of a contour that was made with `others` (n, 3) kept out."""
        low = np.array(claim.contour.corner)
        high = low + claim.contour.mask.shape
        near = _within(others, low, high)
        return cls(candidate.peak_ijk, candidate.rule, _ints(low), _ints(high), near, *claim.box, claim.cut_by)

    @property
    def claim(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Half-open box (low, high) of the region before it was divided."""
        return self.claim_low, self.claim_high

    def holds(self, candidate: Candidate, others: NDArray[np.int64]) -> bool:
        """Whether contouring the candidate beside `others` would give the same again."""
        near = _within(others, np.array(self.box_low), np.array(self.box_high))
        if (self.peak_ijk, self.rule, self.neighbours) != (candidate.peak_ijk, candidate.rule, near):
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
    slice_k: int
    rule: str | None = None
    measures: Measures | None = None
    mask: Volume | None = None
    contour: Contour | None = None
    flags: ContourFlags = NO_FLAGS
    miss: NearestMiss = NO_MISS
    nearest_slice_with_suvmax: int | None = None
    shares_with: tuple[str, ...] = ()
    contour_inputs: ContourInputs | None = None
    """Null where nothing was contoured."""
    known: KnownLesion | None = None
    """The earlier result, where it still holds; measures, mask and contour are null then."""

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
            "rule": self.rule,
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
            "nearest_suvmax_on_slice": self.miss.suvmax_on_slice,
            "nearest_slice_with_suvmax": self.nearest_slice_with_suvmax,
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


@dataclass(frozen=True)
class _Located:
    """A request with what the localisation says of it: one candidate, or an outcome."""

    request: LesionRequest
    k: int
    candidates: tuple[Candidate, ...]
    outcome: Outcome | None
    explanation: str = ""
    miss: NearestMiss = NO_MISS


def find_lesions(
    suv: Volume,
    requests: Sequence[LesionRequest],
    settings: LesionSettings = LesionSettings(),
    ct_slices: SliceGrid | None = None,
    known: Mapping[str, KnownLesion] | None = None,
    organs: ExamOrgans = NO_ORGANS,
) -> list[LesionResult]:
    """One result a request, in their order: located by slice and SUVmax, contoured with the others kept out, measured.

    All findings of an exam are located and settled together, as they compete for the same peaks; of those in `known`
    (by finding id) only the ones whose contour inputs changed are contoured again.

    suv: SUV volume in any orientation; positions come back in the RAS+ order of `suv.canonical()`. ct_slices: of the
    exam's CT, needed only where the convention counts those. organs: label map on the canonical grid, and the liver's
    uptake. Never raises for a finding that is not there.
    """
    volume = suv.canonical()
    if volume.array.dtype != np.float32:
        volume = Volume(volume.array.astype(np.float32), volume.affine)
    if not requests:
        return []
    locator = Locator(volume, settings.locate)
    located = _settle([_locate(locator, r, settings, ct_slices) for r in requests], volume, settings.locate)
    peaks = [one.candidates[0].peak_ijk if one.outcome is None else None for one in located]
    if settings.contour.method == "percist" and organs.liver is None:
        organs = replace(organs, liver=find_liver(volume, organs.labels))
    organs = measured_organs(organs, volume, settings.contour)
    claims = _claims(located, peaks, known or {}, volume, settings, organs)
    results = []
    for n, one in enumerate(located):
        if one.outcome is not None:
            results.append(_not_found(one, volume, settings, ct_slices))
        elif isinstance(claim := claims[n], Claim):
            results.append(_contoured(one, volume, claim, _others(peaks, n), settings, organs.labels))
        else:
            results.append(_kept(one, claim))
    return _with_shared(results)


def _others(peaks: Sequence[Ijk | None], n: int) -> NDArray[np.int64]:
    """Peaks (m, 3) of the other findings than the n-th, each once."""
    rest = sorted({p for p in peaks if p is not None} - {peaks[n]})
    return np.array(rest, dtype=np.int64).reshape(-1, 3)


def _claims(
    located: Sequence[_Located],
    peaks: Sequence[Ijk | None],
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
        size_cm = located[n].request.size_cm
        size_mm = None if size_cm is None else 10.0 * size_cm
        return contour(volume, _peak(located[n]), _others(peaks, n), settings.contour, organs, size_mm)

    for n, one in enumerate(located):
        before = known.get(one.request.finding_id)
        if one.outcome is None and before and before.contour_inputs.holds(one.candidates[0], _others(peaks, n)):
            kept[n] = before
        elif one.outcome is None:
            made[n] = contour_of(n)
    changed = True
    while changed:
        # What is divided between two takes both regions as they were; of the one that is known it was not kept.
        claims = [Claim(made[n], _peak(located[n])) for n in made]
        meeting = [n for n, k in kept.items() if any(_may_share(k, claim) for claim in claims)]
        no_mask = [n for n, k in kept.items() if k.mask is None and _meets_another(n, kept)]
        changed = bool(meeting or no_mask)
        for n in {*meeting, *no_mask}:
            del kept[n]
            made[n] = contour_of(n)
    claims = [Claim(made[n], _peak(located[n])) for n in made]
    return {**dict(zip(made, without_overlaps(claims, volume.spacing_mm))), **kept}


def _peak(one: _Located) -> Ijk:
    return one.candidates[0].peak_ijk


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


def _kept(one: _Located, known: KnownLesion) -> LesionResult:
    return LesionResult(
        one.request,
        known.outcome,
        known.explanation,
        one.k,
        one.candidates[0].rule,
        contour_inputs=known.contour_inputs,
        known=known,
    )


def _locate(
    locator: Locator, request: LesionRequest, settings: LesionSettings, ct_slices: SliceGrid | None
) -> _Located:
    volume = locator.suv
    n_slices = volume.shape[2]
    k = pet_k_of(settings.convention, request.slice, slices_of(volume), ct_slices)
    if k is None:
        reason = "reported slices count those of the CT, and the exam has none"
        return _Located(request, -1, (), Outcome.SLICE_OUTSIDE, reason)
    if not 0 <= k < n_slices:
        reason = f"slice {request.slice} of an exam with {n_slices} slices"
        return _Located(request, k, (), Outcome.SLICE_OUTSIDE, reason)
    side = one_side(request.laterality)
    found = _candidates(locator, k, request.suvmax_reported, side, settings)
    if not found:
        miss = locator.nearest_miss(k, request.suvmax_reported)
        return _Located(request, k, (), Outcome.NOT_IN_IMAGE, "", miss)
    return _Located(request, k, tuple(found), None)


def _candidates(
    locator: Locator,
    k: int,
    suvmax: float,
    side: str | None,
    settings: LesionSettings,
) -> list[Candidate]:
    """What the rules find on a slice, those on the named side first; where none is on it, what is on the other."""
    volume, midline_mm = locator.suv, settings.midline_mm
    found = locator.published(k, suvmax)
    if side and found:
        found = _on_side(found, volume, side, midline_mm, k) or found
    if not found or (side and not _on_side(found, volume, side, midline_mm, k)):
        basins = locator.basins(k, suvmax)
        if side and basins:
            basins = _on_side(basins, volume, side, midline_mm, k) or ([] if found else basins)
        found = basins or found
    return found


def one_side(laterality: str | None) -> str | None:
    """'left' or 'right' where the text names just one side, else None."""
    word = (laterality or "").strip().lower()
    return word if word in ("left", "right") else None


def midlines_mm(volume: Volume, k: int) -> tuple[float, ...]:
    """Where the patient's midline may be at slice k, as x in RAS mm: of the scanner (0) and of the body, where both
    are known.

    The body's is the middle of what takes up tracer around the slice; it is known where the image holds a whole body's
    width. Where it is far from 0, the file's origin is no scanner's and only the body counts.
    """
    width = width_mm(volume, k)
    if width is None:
        return (0.0,)
    body = sum(width) / 2.0
    return (0.0, body) if abs(body) <= FARTHEST_MIDLINE_MM else (body,)


FARTHEST_MIDLINE_MM = 60.0


def _on_side(found: list[Candidate], volume: Volume, side: str, midline_mm: float, k: int) -> list[Candidate]:
    """The candidates whose peak does not lie beyond every midline on the other side."""
    sign = 1.0 if side == "right" else -1.0
    middles = midlines_mm(volume, k)
    return [c for c in found if any(sign * (volume.to_ras_mm(c.peak_ijk)[0] - m) > -midline_mm for m in middles)]


def _settle(located: list[_Located], volume: Volume, settings: LocateSettings) -> list[_Located]:
    """The same with several candidates settled where something settles them; the others are ambiguous.

    Peaks that another finding is alone to mean are left to it; this is repeated while it settles any. What a sentence
    says of the place comes first where it names a peak of that value at the slice, else last.
    """
    settled = list(located)
    open_ = [n for n, one in enumerate(settled) if one.outcome is None and len(one.candidates) > 1]
    taken = {one.candidates[0].peak_ijk for one in settled if one.outcome is None and len(one.candidates) == 1}

    def settle_by(meant_of: Callable[[list[Candidate], LesionRequest], Candidate | None]) -> bool:
        before = len(open_)
        for n in list(open_):
            candidates = settled[n].candidates
            rest = [c for c in candidates if c.peak_ijk not in taken] or list(candidates)
            meant = meant_of(rest, settled[n].request)
            if meant is not None:
                settled[n] = replace(settled[n], candidates=(meant,))
                taken.add(meant.peak_ijk)
                open_.remove(n)
        return len(open_) < before

    def at_its_place(rest: list[Candidate], request: LesionRequest) -> Candidate | None:
        return _placed(rest, request, volume)

    def at_its_place_and_slice(rest: list[Candidate], request: LesionRequest) -> Candidate | None:
        meant = at_its_place(rest, request)
        near = meant is not None and meant.slices_away <= AT_THE_SLICE and meant.off_suv <= ROUNDING_SUV
        return meant if near else None

    def by_slice_and_value(rest: list[Candidate], _: LesionRequest) -> Candidate | None:
        return _meant(rest, settings)

    settle_by(at_its_place_and_slice)
    while settle_by(by_slice_and_value) or settle_by(at_its_place):
        pass
    for n in open_:
        rest = [c for c in settled[n].candidates if c.peak_ijk not in taken]
        places = "; ".join(str(c.peak_ijk) for c in rest)
        settled[n] = replace(
            settled[n],
            candidates=tuple(rest),
            outcome=Outcome.AMBIGUOUS,
            explanation=f"{len(rest)} peaks of that SUVmax reach the slice, nothing settles which: voxels {places}",
        )
    return settled


def _meant(candidates: list[Candidate], settings: LocateSettings) -> Candidate | None:
    """The candidate that is meant, or None.

    The only one; else, unless it is faint, the only one whose peak is on the reported slice and rounds to the value,
    or the only one on the slice; else one that weighs decisively more than the others, or the only one that rounds to
    the value.
    """
    if len(candidates) == 1:
        return candidates[0]
    ordered = sorted(candidates, key=lambda c: -c.weight(settings.near_slices))
    best, second = (c.weight(settings.near_slices) for c in ordered[:2])
    rounds = [c for c in ordered if c.off_suv <= ROUNDING_SUV]
    on_slice = [c for c in ordered if c.slices_away == 0]
    for alike in ([c for c in on_slice if c in rounds], on_slice):
        if len(alike) == 1 and alike[0].weight(settings.near_slices) >= settings.faint * best:
            return alike[0]
    if best >= settings.decisive * second:
        return ordered[0]
    if len(rounds) == 1 and rounds[0].weight(settings.near_slices) >= settings.faint * best:
        return rounds[0]
    return None


PLACE = "place"
"""Rule of a candidate that the anatomic location in its sentence selected."""
PLACED = ": of several with that SUVmax the one that lies where the sentence says"
AT_THE_SLICE = 2
"""A peak no more slices away is at the reported slice as far as its place is concerned."""
CLEARLY_OUTSIDE = 0.1
"""Part of the body's half width or depth by which the other candidates must miss the place."""


def _placed(candidates: list[Candidate], request: LesionRequest, volume: Volume) -> Candidate | None:
    """The only candidate that lies where the sentence says, the others clearly elsewhere; else None."""
    zone = zone_of(request.sentence)
    if zone is None:
        return None
    outside = []
    for candidate in candidates:
        body = body_extent(volume, candidate.peak_ijk[2])
        if body is None:
            return None
        x_mm, y_mm, _ = volume.to_ras_mm(candidate.peak_ijk)
        outside.append(zone.outside((float(x_mm), float(y_mm)), body))
    fits = [c for c, off in zip(candidates, outside) if off == 0.0]
    if len(fits) != 1 or sum(off > CLEARLY_OUTSIDE for off in outside) < len(candidates) - 1:
        return None
    return replace(fits[0], rule=PLACE)


def _not_found(one: _Located, volume: Volume, settings: LesionSettings, ct_slices: SliceGrid | None) -> LesionResult:
    assert one.outcome is not None
    miss, explanation = one.miss, one.explanation
    nearest = None
    if miss.k_with_suvmax is not None:
        nearest = pet_slice_of(settings.convention, miss.k_with_suvmax, slices_of(volume), ct_slices)
    if one.outcome is Outcome.NOT_IN_IMAGE:
        there = "nowhere a peak" if nearest is None else f"a peak nearest on slice {nearest}"
        value = "none" if miss.suvmax_on_slice is None else f"{miss.suvmax_on_slice:.1f}"
        explanation = (
            f"SUVmax {one.request.suvmax_reported:g} is not on slice {one.request.slice} "
            f"(nearest maximum there {value}); it is {there}"
        )
    return LesionResult(
        request=one.request,
        outcome=one.outcome,
        explanation=explanation,
        slice_k=one.k,
        rule=one.candidates[0].rule if one.candidates else None,
        miss=miss,
        nearest_slice_with_suvmax=nearest,
    )


def _contoured(
    one: _Located,
    volume: Volume,
    claim: Claim,
    others: NDArray[np.int64],
    settings: LesionSettings,
    labels: NDArray[np.uint8] | None,
) -> LesionResult:
    candidate, made = one.candidates[0], claim.contour
    outcome = STOPPED.get(made.stop_reason, Outcome.LESION)
    explanation = f"contour: {made.stop_reason.value}"
    if outcome is Outcome.LESION:
        explanation = f"by the {candidate.rule} rule{PLACED if candidate.rule == PLACE else ''}"
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
        side = one_side(one.request.laterality)
        middles = midlines_mm(volume, candidate.peak_ijk[2]) if side else ()
        if outcome is Outcome.LESION and side and _lies_on_other_side(mask, side, middles, settings.midline_mm):
            outcome = Outcome.WRONG_SIDE
            explanation = f"the sentence says {side}, the mask lies at x = {measured.centroid_x_mm:.0f} mm (right is +)"
    return LesionResult(
        request=one.request,
        outcome=outcome,
        explanation=explanation,
        slice_k=one.k,
        rule=candidate.rule,
        measures=measured,
        mask=mask,
        contour=made,
        flags=flags,
        contour_inputs=ContourInputs.of(candidate, claim, others),
    )


def _lies_on_other_side(mask: Volume, side: str, middles: Sequence[float], midline_mm: float) -> bool:
    """Whether a mask lies wholly on the side that the text does not name (+x is the patient's right), by every midline:
    its middle beyond the midline's width, nine tenths of its voxels beyond the midline."""
    sign = 1.0 if side == "right" else -1.0
    x = mask.to_ras_mm(np.argwhere(mask.array > 0))[:, 0]
    return all((sign * (x - m)).mean() < -midline_mm and (sign * (x - m) < 0).mean() >= 0.9 for m in middles)


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
