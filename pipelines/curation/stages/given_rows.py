"""Rows of `lesions` whose masks are given: measured as all others, and located by their mask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.curation.stages.given_lesions import given_lesions_of
from pipelines.imaging.lesions.find_lesions import LesionResult
from pipelines.imaging.lesions.measures import Measures, measure
from pipelines.imaging.lesions.overlaps import PlacedMask, masks_meet
from pipelines.imaging.masks import load_mask
from pipelines.imaging.volume import Volume
from pipelines.tables.home import Home
from pipelines.tables.outcomes import Outcome

GIVEN_MASK = "given mask"
"""Evidence of a lesion whose mask says where it is; its method too."""


@dataclass(frozen=True, eq=False)
class GivenResult:
    """A given lesion: its columns of `lesions`, and its mask, a cropped box of the PET's grid."""

    row: dict[str, Any]
    mask: Volume
    shared: tuple[str, ...]
    """Findings whose masks have voxels in common with it."""


def given_results(
    home: Home,
    exam: Mapping[str, Any],
    findings: Mapping[str, Mapping[str, Any]],
    suv: Volume,
    located: Sequence[LesionResult],
) -> dict[str, GivenResult]:
    """Finding -> its given lesion, of an exam's accepted findings.

    Args:
        home: where the masks lie.
        exam: row of `exams`.
        findings: its accepted findings by id.
        suv: its PET.
        located: its findings that were looked for; of one whose mask is replaced what was found is kept beside the
            given mask's measures.
    """
    masks = {one.replaces or one.finding_id: load_mask(home.file(one.mask_path)) for one in given_lesions_of(exam)}
    # A mask for a finding that the report does not have is a lesion of its own.
    masks |= {one.finding_id: load_mask(home.file(one.mask_path)) for one in given_lesions_of(exam) if one.replaces}
    found = {result.request.finding_id: result for result in located}
    grown = {finding_id: place for finding_id, result in found.items() if (place := _place_of(result)) is not None}
    wanted = {f: masks[f] for f, finding in findings.items() if finding["mask_source"] != "grown" and f in masks}
    placed = {finding_id: _placed(mask, suv) for finding_id, mask in wanted.items()}
    everywhere = {**grown, **placed}
    results = {}
    for finding_id, mask in wanted.items():
        corner, own = placed[finding_id]
        shared = [f for f, other in everywhere.items() if f != finding_id and masks_meet(placed[finding_id], other)]
        measures = measure(suv, own, corner)
        row = _row(findings[finding_id], measures, found.get(finding_id))
        results[finding_id] = GivenResult(row | {"shares_with": ", ".join(shared) or None}, mask, tuple(shared))
    return results


def with_shared(shares_with: str | None, finding_id: str, given: Mapping[str, GivenResult]) -> str | None:
    """The findings that a grown lesion shares voxels with, those whose masks are given among them."""
    also = [other for other, one in given.items() if finding_id in one.shared]
    return ", ".join(filter(None, (shares_with, *also))) or None


def _placed(mask: Volume, suv: Volume) -> tuple[tuple[int, int, int], Any]:
    i, j, k = (int(n) for n in np.rint(suv.to_ijk(mask.affine[:3, 3])))
    return (i, j, k), mask.array > 0


def _place_of(result: LesionResult) -> PlacedMask | None:
    if result.outcome is not Outcome.LESION:
        return None
    if result.known is not None:
        return result.known.mask() if result.known.mask is not None else None
    return (result.contour.corner, result.contour.mask) if result.contour is not None else None


def _row(finding: Mapping[str, Any], measures: Measures, found: LesionResult | None) -> dict[str, Any]:
    is_corrected = finding["mask_source"] == "corrected"
    said = "its mask is given"
    if is_corrected and found is not None:
        said += f" in place of the grown one; that was {found.outcome.value}: {found.explanation}"
    kept = ("finding_id", "sentence", "slice", "suvmax_reported")
    return {
        **{name: finding[name] for name in kept},
        "outcome": Outcome.LESION.value,
        "explanation": said,
        "evidence": GIVEN_MASK,
        "method": GIVEN_MASK,
        "mask_source": finding["mask_source"],
        **measures.to_row(),
    }
