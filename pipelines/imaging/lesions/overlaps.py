"""Contours of an exam made disjoint: a voxel that two lesions claim is the one's whose peak is nearer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.region import Contour, Ijk, StopReason

BoxEnds = tuple[tuple[int, ...], tuple[int, ...]]
PlacedMask = tuple[tuple[int, ...], NDArray[np.bool_]]
"""(corner, mask): a mask in its box, whose first voxel is at the corner."""


@dataclass(frozen=True, eq=False)
class Claim:
    """A contour with the peak that it grew from."""

    contour: Contour
    peak: Ijk
    whole_box: BoxEnds | None = None
    cut_by: tuple[Ijk, ...] = ()
    """Peaks of the lesions that voxels were divided with."""
    joined: tuple[Ijk, ...] = ()
    """Foci that a person joined with it: it grew from these too."""

    @property
    def seeds(self) -> tuple[Ijk, ...]:
        """What it grew from."""
        return self.peak, *self.joined

    @property
    def box(self) -> BoxEnds:
        """Half-open box (low, high) of the region before it was divided; empty, at the corner, where it has no
        voxel."""
        if self.whole_box is not None:
            return self.whole_box
        inside = np.argwhere(self.contour.mask)
        if not len(inside):
            return self.contour.corner, self.contour.corner
        corner = np.array(self.contour.corner)
        low, high = inside.min(axis=0) + corner, inside.max(axis=0) + corner + 1
        return tuple(int(v) for v in low), tuple(int(v) for v in high)


def boxes_meet(a: BoxEnds, b: BoxEnds) -> bool:
    """Whether two half-open boxes have a voxel in common."""
    return all(max(p, q) < min(r, s) for p, q, r, s in zip(a[0], b[0], a[1], b[1]))


def masks_meet(a: PlacedMask, b: PlacedMask) -> bool:
    """Whether two masks have a voxel in common."""
    return bool((a[1] & _placed(b, a)).any())


def without_overlaps(claims: Sequence[Claim], spacing_mm: tuple[float, float, float]) -> list[Claim]:
    """The same claims, disjoint: of voxels that converged contours of two peaks have in common each gets those nearer
    to its peak (as near: the peak that comes first), and keeps what is connected with its peak, or with a focus that
    was joined with it.

    Two findings of one peak keep the same contour; a contour that did not converge neither takes nor loses a voxel.
    """
    claims = [replace(c, whole_box=c.box) for c in claims]
    converged = [c for c in claims if c.contour.stop_reason is StopReason.CONVERGED]
    return [
        _divided(one, [c for c in converged if c.peak != one.peak and boxes_meet(c.box, one.box)], spacing_mm)
        if one.contour.stop_reason is StopReason.CONVERGED
        else one
        for one in claims
    ]


def _divided(one: Claim, others: Sequence[Claim], spacing_mm: tuple[float, float, float]) -> Claim:
    lost = np.zeros(one.contour.mask.shape, dtype=bool)
    cut_by = []
    for other in others:
        theirs_in_mine = _placed((other.contour.corner, other.contour.mask), (one.contour.corner, one.contour.mask))
        common = one.contour.mask & theirs_in_mine
        if common.any():
            cut_by.append(other.peak)
            ijk = np.argwhere(common)
            mine, theirs = (_distance(ijk, one.contour.corner, c.seeds, spacing_mm) for c in (one, other))
            lost[tuple(ijk[(theirs < mine) | ((theirs == mine) & (other.peak < one.peak))].T)] = True
    if not cut_by:
        return one
    label, _ = ndimage.label(one.contour.mask & ~lost)
    own = [int(label[tuple(p - c for p, c in zip(seed, one.contour.corner))]) for seed in one.seeds]
    mask = np.isin(label, [part for part in own if part > 0])
    return replace(one, contour=replace(one.contour, mask=mask), cut_by=tuple(sorted(set(cut_by))))


def _placed(mask: PlacedMask, into: PlacedMask) -> NDArray[np.bool_]:
    """A mask in the box of another."""
    out = np.zeros(into[1].shape, dtype=bool)
    low = np.maximum(mask[0], into[0])
    high = np.minimum(np.add(mask[0], mask[1].shape), np.add(into[0], into[1].shape))
    if (low < high).all():
        source, target = (tuple(slice(p, q) for p, q in zip(low - c, high - c)) for c in (mask[0], into[0]))
        out[target] = mask[1][source]
    return out


def _distance(
    ijk: NDArray[np.int64], corner: Ijk, seeds: Sequence[Ijk], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Of each voxel to the nearest seed [mm]."""
    off = [np.linalg.norm((ijk + np.array(corner) - np.array(seed)) * spacing_mm, axis=1) for seed in seeds]
    return np.asarray(np.min(off, axis=0))
