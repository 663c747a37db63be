"""What a person clicked in the viewer, as voxels: the focus that a place means, those that are joined or cut off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.imaging.lesions.located import PICKED_MM, Located
from pipelines.imaging.lesions.region import Ijk, box_around
from pipelines.imaging.volume import Volume


@dataclass(frozen=True)
class Clicks:
    """Foci that are joined with a finding, those that are cut off it, and what of it cannot be done."""

    joined: tuple[Ijk, ...] = ()
    cut: tuple[Ijk, ...] = ()
    problems: tuple[str, ...] = ()


NO_CLICKS = Clicks()


def focus_at(suv: Volume, ras_mm: Sequence[float]) -> Ijk | None:
    """The voxel that a click at a place means: uphill, each time to the hottest voxel within PICKED_MM, to one that is
    the hottest there. None outside of the image.

    Args:
        suv: RAS+.
        ras_mm: the place.
    """
    i, j, k = (int(v) for v in np.rint(suv.to_ijk(ras_mm)))
    at: Ijk = (i, j, k)
    if any(not 0 <= v < n for v, n in zip(at, suv.shape)):
        return None
    while True:
        box = box_around(suv.shape, at, PICKED_MM, suv.spacing_mm)
        offsets = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1) - at
        near = np.linalg.norm(offsets * suv.spacing_mm, axis=-1) <= PICKED_MM
        values = np.where(near, suv.array[box], -np.inf)
        if values.max() <= suv.array[at]:
            return at
        best = np.unravel_index(int(values.argmax()), values.shape)
        a, b, c = (int(s.start + v) for s, v in zip(box, best))
        at = (a, b, c)


@dataclass
class _Taken:
    """Voxel -> finding whose peak or joined focus it is."""

    by: dict[Ijk, str] = field(default_factory=dict)


def clicks_of(located: Sequence[Located], suv: Volume) -> Mapping[int, Clicks]:
    """By index of the findings that have any: their foci as voxels. A focus belongs to one finding alone."""
    taken = _Taken({one.peak_ijk: one.request.finding_id for one in located if one.peak_ijk is not None})
    found = {}
    for n, one in enumerate(located):
        if one.request.joined_at or one.request.cut_at:
            found[n] = _clicks(one, suv, taken)
    return found


def _clicks(one: Located, suv: Volume, taken: _Taken) -> Clicks:
    own, mine = one.request.finding_id, []
    joined: list[Ijk] = []
    cut: list[Ijk] = []
    if one.peak_ijk is None:
        return Clicks(problems=("join and cut need a lesion that is in the image, this one is not",))
    for text in _places(one.request.joined_at):
        at = focus_at(suv, [float(v) for v in text.split()])
        if at is None:
            mine.append(f"join at {text} mm: it lies outside the image")
        elif at in taken.by and at not in joined:
            other = taken.by[at]
            whose = "its own peak" if other == own else f"the focus of finding {other}"
            mine.append(f"join at {text} mm: that is {whose}")
        elif at not in joined:
            joined.append(at)
            taken.by[at] = own
    for text in _places(one.request.cut_at):
        at = focus_at(suv, [float(v) for v in text.split()])
        if at is None:
            mine.append(f"cut at {text} mm: it lies outside the image")
        elif at == one.peak_ijk or at in joined:
            mine.append(f"cut at {text} mm: uphill of it lies the lesion's own focus, no other")
        elif at not in cut:
            cut.append(at)
    return Clicks(tuple(joined), tuple(cut), tuple(mine))


def _places(text: str | None) -> list[str]:
    return [place.strip() for place in (text or "").split(";") if place.strip()]
