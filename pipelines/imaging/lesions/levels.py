"""Levels of the threshold of a contour, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from pipelines.imaging.lesions.liver import LiverUptake
from pipelines.imaging.lesions.region import Ijk, StopReason
from pipelines.settings import ContourSettings

FWHM_TO_SIGMA = 1.0 / 2.3548
ML_TO_CUBED_RADIUS_MM = 3000.0 / (4.0 * np.pi)
CONVERGED = 0.01
"""Relative change of the threshold that ends the iteration, and how often it is renewed at most."""
MOST_ITERATIONS = 10
START = 0.75
"""Part of SUVpeak that the iteration starts at; from 0.6 to 1 the same thresholds come out."""


@dataclass(frozen=True, eq=False)
class Around:
    """What a level is made of: the box of a lesion, and the lesion's part of it."""

    values: NDArray[np.float32]
    hold_suv: NDArray[np.float32]
    peak: Ijk
    suv_peak: float
    spacing_mm: tuple[float, float, float]
    liver: LiverUptake | None = None

    @property
    def suv_max(self) -> float:
        """SUV of the peak's voxel."""
        return float(self.values[self.peak])

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
    region, so that neighbours, organs and the tumour's own colder parts can hardly raise it. Of several thresholds the
    highest below SUVpeak (1 mL) is taken, and the peak's voxel counts no more than the hottest beside it: a single hot
    voxel decides nothing.
    """
    held = around.hold_suv > 0
    order = np.argsort(-around.hold_suv[held], kind="stable")
    hold = around.hold_suv[held][order].astype(np.float64)
    count = np.arange(1, len(hold) + 1)
    mean = np.cumsum(around.without_spike[held][order], dtype=np.float64) / count
    edge = settings.level * edge_levels(count * np.prod(around.spacing_mm) / 1000.0, around, settings)
    start = min(int(np.searchsorted(-hold, -around.suv_peak)), len(hold) - 1)
    threshold, background = START * around.suv_peak, None
    for iteration in range(1, MOST_ITERATIONS + 1):
        background = background_suv(around, threshold, settings)
        if background is None:
            return Level(threshold, None, iteration, StopReason.LEAK)
        renewed = float(hold[_crossing(hold - background - edge * (mean - background), start)])
        change, threshold = abs(renewed - threshold), renewed
        if change <= CONVERGED * threshold:
            break
    return Level(threshold, background, iteration)


LEVELS: Mapping[str, Callable[[Around, ContourSettings], Level]] = {
    "adaptive": adaptive,
    "suvmax_41": lambda around, _: fixed(0.41 * around.suv_max),
    "suvpeak_41": lambda around, _: fixed(0.41 * around.suv_peak),
    "suv_4": lambda around, _: fixed(4.0),
    "percist": lambda around, _: percist(around),
}
"""Method -> its level. 41 %: EANM 2015 (Boellaard); SUV 4: Barrington 2021."""


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


def background_suv(around: Around, threshold_suv: float, settings: ContourSettings) -> float | None:
    """Quantile of the shell around the region above a threshold; None where nothing below the threshold is around.

    On grids finer than 3 mm every second voxel is looked at.
    """
    region = around.hold_suv >= threshold_suv
    found = ndimage.find_objects(region.view(np.uint8))
    if not found:
        return None
    near, far = settings.shell_mm
    step = tuple(2 if s < 3.0 else 1 for s in around.spacing_mm)
    box = tuple(
        slice(max(0, b.start - int(far / s) - 2), b.stop + int(far / s) + 2, n)
        for b, s, n in zip(found[0], around.spacing_mm, step)
    )
    away = ndimage.distance_transform_edt(~region[box], sampling=np.multiply(around.spacing_mm, step))
    values = around.values[box]
    shell = values[(away > near) & (away <= far) & (values < threshold_suv)]
    return float(np.quantile(shell, settings.background_part)) if shell.size else None


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
