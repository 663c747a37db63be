"""Levels of the threshold of a contour, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipelines.imaging.lesions.descending import descending
from pipelines.imaging.lesions.faces import stepped
from pipelines.imaging.lesions.liver import LiverUptake
from pipelines.imaging.lesions.measures import offsets_within
from pipelines.imaging.lesions.region import Ijk, StopReason
from pipelines.imaging.volume import Box
from pipelines.settings import ContourSettings

FWHM_TO_SIGMA = 1.0 / 2.3548
ML_TO_CUBED_RADIUS_MM = 3000.0 / (4.0 * np.pi)
CONVERGED = 0.01
"""Relative change of the threshold that ends the iteration, and how often it is renewed at most."""
MOST_ITERATIONS = 10
START = 0.75
"""Part of SUVpeak that the iteration starts at; from 0.6 to 1 the same thresholds come out."""
ORGAN_SPREAD = 0.1
"""Part of its level within which most of an organ's uptake lies: its noise."""
COARSE_MM = 3.0
"""On grids finer than it the shell is read from every second voxel."""


@dataclass(frozen=True, eq=False)
class OwnOrgan:
    """The organ of the label map that a peak lies in: its voxels in the box, and its own uptake."""

    inside: NDArray[np.bool_]
    suv: float


@dataclass(frozen=True, eq=False)
class Around:
    """What a level is made of: the box of a lesion, and the lesion's part of it."""

    values: NDArray[np.float32]
    hold_suv: NDArray[np.float32]
    peak: Ijk
    suv_peak: float
    spacing_mm: tuple[float, float, float]
    liver: LiverUptake | None = None
    organ: OwnOrgan | None = None

    @property
    def suv_max(self) -> float:
        """SUV of the peak's voxel."""
        return float(self.values[self.peak])

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def cropped(self, by_mm: float) -> "Around":
        """The same in the box of the lesion's part and so many mm around it."""
        box = grown_box(self.hold_suv > 0, self.spacing_mm, by_mm)
        i, j, k = (p - b.start for p, b in zip(self.peak, box))
        organ = self.organ and replace(self.organ, inside=self.organ.inside[box])
        values, hold = np.ascontiguousarray(self.values[box]), np.ascontiguousarray(self.hold_suv[box])
        return replace(self, values=values, hold_suv=hold, peak=(i, j, k), organ=organ)

    @property
    def without_spike(self) -> NDArray[np.float32]:
        """The values, the peak's lowered to that of its hottest neighbour (26)."""
        values = self.values.copy()
        near = values[tuple(slice(max(0, p - 1), p + 2) for p in self.peak)].ravel()
        if len(near) > 1:
            values[self.peak] = min(values[self.peak], np.partition(near, -2)[-2])
        return values


@dataclass(frozen=True)
class Level:
    """A threshold, the background that it was made of, and why there is none."""

    threshold_suv: float | None
    background_suv: float | None = None
    iterations: int = 0
    stop: StopReason | None = None
    excess_suv: float = 0.0
    """By how much the threshold is higher in the organ that the peak lies in."""


def fixed(threshold_suv: float) -> Level:
    """A level that needs no background."""
    return Level(threshold_suv)


def percist(around: Around) -> Level:
    """1.5 times the mean of the liver plus two standard deviations (PERCIST 1.0, Wahl 2009)."""
    if around.liver is None:
        return Level(None, stop=StopReason.NO_LIVER)
    return fixed(1.5 * around.liver.mean_suv + 2.0 * around.liver.sd_suv)


def adaptive(around: Around, settings: ContourSettings) -> Level:
    """The threshold t that lies between background b and mean m of the region above it as the edge of a sphere does.

    t = b + `level` e(V) (m - b): e(V) is the SUV at the edge of a sphere of the region's volume over the mean inside,
    blurred by the scanner (0.5 for large ones: Ridler and Calvard 1978); b the lower quartile of the shell around the
    region, so that neighbours, organs and the tumour's own colder parts can hardly raise it. Where the peak lies in an
    organ of a label map, b is in that organ the organ's own uptake, if that is higher. Of several
    thresholds the highest below SUVpeak (1 mL) is taken, none lies so low that an organ joins the region, and the
    peak's voxel counts no more than the hottest beside it: a single hot voxel decides nothing.
    """
    around = around.cropped(settings.shell_mm[1])
    held = around.hold_suv > 0
    values, hold = around.without_spike[held], around.hold_suv[held]
    edge = settings.level * edge_levels(np.arange(1, len(hold) + 1) * around.voxel_ml, around, settings)
    levels, mean = _from_above(hold, values)
    threshold, background, excess = START * around.suv_peak, None, 0.0
    for iteration in range(1, MOST_ITERATIONS + 1):
        region = lowered(around, excess) >= threshold
        background = background_suv(around, region, threshold, settings)
        if background is None:
            return Level(threshold, None, iteration, StopReason.LEAK)
        if around.organ is not None:
            part = min(1.0, float(edge[max(0, int(region.sum()) - 1)]))
            excess = max(0.0, around.organ.suv - background) * (1.0 - part)
            levels, mean = _from_above(lowered(around, excess)[held], values)
        start = min(int(np.searchsorted(-levels, -around.suv_peak)), len(levels) - 1)
        end = _before_organ(levels, settings.most_joined_ml / around.voxel_ml)
        above = (levels - background - edge * (mean - background))[:end]
        renewed = float(levels[_crossing(above, min(start, end - 1))])
        change, threshold = abs(renewed - threshold), renewed
        if change <= CONVERGED * threshold:
            break
    return Level(threshold, background, iteration, excess_suv=excess)


def _from_above(
    hold: NDArray[np.float32], values: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Levels from the highest down, and the mean of the values at and above each."""
    order: NDArray[np.integer[Any]] = descending(hold)
    mean = np.cumsum(values[order], dtype=np.float64) / np.arange(1, len(hold) + 1)
    return hold[order].astype(np.float64), mean


NAMED_LEVELS: Mapping[str, Callable[[Around], Level]] = {
    "suvmax_41": lambda around: fixed(0.41 * around.suv_max),
    "suvpeak_41": lambda around: fixed(0.41 * around.suv_peak),
    "suv_4": lambda around: fixed(4.0),
    "percist": percist,
}
"""Protocol -> its level. 41 %: EANM 2015 (Boellaard); SUV 4: Barrington 2021."""


def edge_levels(volume_ml: NDArray[Any], around: Around, settings: ContourSettings) -> NDArray[np.float64]:
    """SUV at the edge over the mean inside of blurred spheres in no background; below 1 mL, the sphere of SUVpeak, that
    of 1 mL, for what is smaller is not resolved. Voxels blur by their own size too."""
    variance = (settings.fwhm_mm * FWHM_TO_SIGMA) ** 2 + float(np.mean(np.square(around.spacing_mm))) / 12.0
    radius_mm = np.cbrt(np.maximum(1.0, volume_ml) * ML_TO_CUBED_RADIUS_MM)
    return np.asarray(np.interp(radius_mm / variance**0.5, *_spheres()))


@cache
def _spheres() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(radius, edge over mean) of spheres blurred by a Gaussian of standard deviation 1."""
    radii = np.geomspace(0.3, 100.0, 120)
    levels = []
    for radius in radii:
        x = np.linspace(1e-3, radius, 400)
        near, far = radius - x, radius + x
        seen = 0.5 * (special.erf(far / 2**0.5) + special.erf(near / 2**0.5))
        seen -= (np.exp(-(near**2) / 2) - np.exp(-(far**2) / 2)) / (x * (2 * np.pi) ** 0.5)
        levels.append(seen[-1] * np.trapezoid(x * x, x) / np.trapezoid(seen * x * x, x))
    return radii, np.array(levels)


def lowered(around: Around, excess_suv: float) -> NDArray[np.float32]:
    """`hold_suv`, lower by an excess in the organ of the peak."""
    if around.organ is None or excess_suv <= 0.0:
        return around.hold_suv
    return np.where(around.organ.inside, around.hold_suv - np.float32(excess_suv), around.hold_suv)


def background_suv(
    around: Around, region: NDArray[np.bool_], threshold_suv: float, settings: ContourSettings
) -> float | None:
    """Quantile of the shell around a region, without what is above the threshold; None where nothing is below it."""
    box = grown_box(region, around.spacing_mm, settings.shell_mm[1])
    coarse = tuple(slice(b.start, b.stop, n) for b, n in zip(box, coarse_step(around.spacing_mm)))
    values = around.values[coarse]
    shell = values[shell_of(region[coarse], around.spacing_mm, settings) & (values < threshold_suv)]
    return float(np.quantile(shell, settings.background_part)) if shell.size else None


def coarse_step(spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Voxels from one to the next that the surroundings are read from, along each axis."""
    i, j, k = (2 if s < COARSE_MM else 1 for s in spacing_mm)
    return i, j, k


def grown_box(region: NDArray[np.bool_], spacing_mm: tuple[float, float, float], by_mm: float) -> Box:
    """The box of a region and so many mm around it, cut at the border of the array; its corner is even, so that the
    same voxels are read whatever the region."""
    low, high = _ends(region)
    i, j, k = (
        slice(max(0, int(a) - int(by_mm / s) - 1) // 2 * 2, min(n, int(b) + int(by_mm / s) + 2))
        for a, b, s, n in zip(low, high, spacing_mm, region.shape)
    )
    return i, j, k


@numba.njit(cache=True)
def _ends(region):
    """First and last index of a region along each axis."""
    low, high = np.array(region.shape), np.full(3, -1)
    for i in range(region.shape[0]):
        for j in range(region.shape[1]):
            for k in range(region.shape[2]):
                if region[i, j, k]:
                    low[0], low[1], low[2] = min(low[0], i), min(low[1], j), min(low[2], k)
                    high[0], high[1], high[2] = max(high[0], i), max(high[1], j), max(high[2], k)
    return low, high


def shell_of(
    region: NDArray[np.bool_], spacing_mm: tuple[float, float, float], settings: ContourSettings
) -> NDArray[np.bool_]:
    """The shell around a region, both on the coarse grid; spacing_mm: of the fine one."""
    return np.asarray(_marks(region, *_shell_offsets(spacing_mm, settings.shell_mm)) == _SHELL)


@lru_cache(maxsize=8)
def _shell_offsets(
    spacing_mm: tuple[float, float, float], shell_mm: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Offsets (n, 3) on the coarse grid up to the shell's outer end, and whether each lies in the shell."""
    near, far = shell_mm
    coarse_mm = np.multiply(spacing_mm, coarse_step(spacing_mm))
    offsets = offsets_within(tuple(coarse_mm), far)
    away = np.linalg.norm(offsets * coarse_mm, axis=1)
    return offsets[away <= far], away[away <= far] > near


_SHELL, _NEAR = 1, 2


@numba.njit(cache=True)
def _marks(region, offsets, is_far):
    """_NEAR where a voxel of the region is near, else _SHELL where one is within reach, else 0."""
    n_i, n_j, n_k = region.shape
    marks = np.zeros(region.shape, np.uint8)
    for i in range(n_i):
        for j in range(n_j):
            for k in range(n_k):
                if not region[i, j, k]:
                    continue
                is_surface = False
                for side in range(6):
                    a, b, c = stepped(i, j, k, side)
                    if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k or not region[a, b, c]:
                        is_surface = True
                        break
                marks[i, j, k] = _NEAR
                if not is_surface:
                    continue
                for n in range(len(offsets)):
                    a, b, c = i + offsets[n, 0], j + offsets[n, 1], k + offsets[n, 2]
                    if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k:
                        continue
                    if not is_far[n]:
                        marks[a, b, c] = _NEAR
                    elif marks[a, b, c] == 0:
                        marks[a, b, c] = _SHELL
    return marks


@numba.njit(cache=True)
def _crossing(excess, start):
    """The last of the places from `start` on where the excess is positive; where it is not at the start, the nearest
    before it."""
    n = start
    if excess[n] > 0:
        while n + 1 < len(excess) and excess[n + 1] > 0:
            n += 1
    else:
        while n > 0 and excess[n] <= 0:
            n -= 1
    return n


@numba.njit(cache=True)
def _before_organ(levels, most):
    """How many of the levels, from the highest down, come before one below which, within ORGAN_SPREAD of it, lie more
    than `most` others."""
    end = 0
    for n in range(len(levels)):
        while end < len(levels) and levels[end] >= (1.0 - ORGAN_SPREAD) * levels[n]:
            end += 1
        if end - n > most:
            return max(1, n)
    return len(levels)
