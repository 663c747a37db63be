"""Roughly where across the body a sentence places a finding: words that name a place, as parts of the body's width and
depth.

Coarse on purpose: it tells a vertebra from a sternum or an axilla on one slice, no more, and is asked only where
nothing else settles which of several peaks is meant.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.volume import Volume

BODY_SUV = 0.15
BODY_SLAB_MM = 15.0
NARROWEST_BODY_MM = 220.0
THINNEST_BODY_MM = 100.0


@dataclass(frozen=True)
class BodyExtent:
    """The ends in RAS mm of what takes up tracer around a slice: right and left (x), back and front (y)."""

    x_mm: tuple[float, float]
    y_mm: tuple[float, float]


def width_mm(volume: Volume, k: int) -> tuple[float, float] | None:
    """The body's ends along x around slice k of a RAS+ volume; None where the image does not hold all of its width or
    that is too small for a body."""
    return _ends_mm(_around(volume, k), volume, k, 0, NARROWEST_BODY_MM)


def body_extent(volume: Volume, k: int) -> BodyExtent | None:
    """The body's extent around slice k of a RAS+ volume; None where width or depth are not known."""
    taken_up = _around(volume, k)
    x_mm = _ends_mm(taken_up, volume, k, 0, NARROWEST_BODY_MM)
    y_mm = _ends_mm(taken_up, volume, k, 1, THINNEST_BODY_MM)
    return BodyExtent(x_mm, y_mm) if x_mm and y_mm else None


def _steps(volume: Volume) -> tuple[int, int]:
    return max(1, round(3.0 / volume.spacing_mm[0])), max(1, round(3.0 / volume.spacing_mm[1]))


def _around(volume: Volume, k: int) -> NDArray[np.bool_]:
    """Where tracer is taken up in a slab around a slice, every 3 mm."""
    step = _steps(volume)
    reach = max(1, round(BODY_SLAB_MM / volume.spacing_mm[2]))
    slab = volume.array[:: step[0], :: step[1], max(0, k - reach) : k + reach + 1]
    return np.asarray(slab > BODY_SUV)


def _ends_mm(
    taken_up: NDArray[np.bool_], volume: Volume, k: int, axis: int, least_mm: float
) -> tuple[float, float] | None:
    lines = np.flatnonzero(taken_up.sum(axis=(1 - axis, 2)) > 0.02 * taken_up.size / taken_up.shape[axis])
    if len(lines) == 0 or lines[0] == 0 or lines[-1] == taken_up.shape[axis] - 1:
        return None
    at = [0, 0, k]
    ends = []
    for line in (int(lines[0]), int(lines[-1])):
        at[axis] = line * _steps(volume)[axis]
        ends.append(float(volume.to_ras_mm(at)[axis]))
    return (ends[0], ends[1]) if ends[1] - ends[0] >= least_mm else None


@dataclass(frozen=True)
class Zone:
    """A part of the body's cross-section. lateral: distance from the middle as a part of half the width; depth: from
    the back (0) to the front (1); side: where the place lies on one alone."""

    lateral: tuple[float, float] = (0.0, 2.0)
    depth: tuple[float, float] = (-1.0, 2.0)
    side: str | None = None

    def outside(self, point_mm: tuple[float, float], body: BodyExtent) -> float:
        """How far a point (x, y in RAS mm) is from the zone, as a part of half the width or of the depth; 0 inside."""
        middle, half = sum(body.x_mm) / 2, (body.x_mm[1] - body.x_mm[0]) / 2
        across = (point_mm[0] - middle) / half
        deep = (point_mm[1] - body.y_mm[0]) / (body.y_mm[1] - body.y_mm[0])
        off = [self.lateral[0] - abs(across), abs(across) - self.lateral[1]]
        off += [self.depth[0] - deep, deep - self.depth[1]]
        if self.side:
            off.append(-across if self.side == "right" else across)
        return max(0.0, *off)


CENTRAL, OUTER = (0.0, 0.4), (0.2, 2.0)
ZONES: dict[str, Zone] = {
    r"vertebra\w*|spine|spinal|spinous|sacrum|sacral|coccy\w+": Zone(CENTRAL, (-1.0, 0.7)),
    r"stern(?:um|al)|manubri\w+|xiphoid|parasternal|pubic|pubis|symphysis": Zone(CENTRAL, (0.5, 2.0)),
    r"mediastin\w+|(?:para|pre)tracheal|subcarinal|(?:o?esophag\w+)|retroperiton\w+|para-?aortic|aortocaval": Zone(
        (0.0, 0.5)
    ),
    r"prostat\w+|uter(?:us|ine)|rect(?:um|al)|cervix|vagin\w+|urethra\w*": Zone(CENTRAL),
    r"axilla\w*|humer\w+|scapul\w+|shoulder": Zone((0.35, 2.0)),
    r"femur|femoral|acetabul\w+|iliac (?:bone|wing|crest)|hip": Zone(OUTER),
    r"(?:upper|middle|lower) lobe|lungs?|lingula\w*": Zone((0.12, 2.0)),
    r"glute\w+|buttock": Zone(depth=(-1.0, 0.6)),
    r"breast|umbilic\w+|anterior abdominal wall|oment\w+": Zone(depth=(0.45, 2.0)),
    r"spleen|descending colon": Zone(side="left"),
    r"gallbladder|cecum|cecal|ascending colon": Zone(side="right"),
}
"""Words -> where their place lies in any patient on their back, with room for bent and turned ones."""

_ZONES = [(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), zone) for words, zone in ZONES.items()]
_BESIDE = re.compile(
    r"\b(?:adjacent to|next to|near|abut\w+|behind|above|below|(?:anterior|posterior|lateral|medial|superior|inferior)"
    r" to|than|versus|vs\.?|compared (?:to|with)|relative to|background|no)\b[^,;.]*|\bmediastinal blood\b",
    re.IGNORECASE,
)
"""What a place is compared with or lies beside is not the place."""


def zone_of(sentence: str) -> Zone | None:
    """The zone that a sentence names, None where it names none or several."""
    named = _BESIDE.sub(" ", sentence)
    found = {zone for words, zone in _ZONES if words.search(named)}
    return found.pop() if len(found) == 1 else None
