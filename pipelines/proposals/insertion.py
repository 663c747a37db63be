"""Lesions put into real exams: shapes of the phantom at places of the body, blurred and noisy as the exam is.

A real exam has hundreds of peaks that are no lesion, and few lesions that are known. With lesions of known place put
into it, a model learns to tell them from what such an exam holds anyway.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.body_frame import BODY_SUV
from pipelines.imaging.lesions.exam_peaks import ExamPeaks
from pipelines.imaging.volume import Box, Volume
from pipelines.phantom.body import Floats, Grid, Point
from pipelines.phantom.hard.tumours import HardTumour, shape_of
from pipelines.phantom.scanner import fwhm_to_sigma, noise_field
from pipelines.phantom.sites import Site
from pipelines.phantom.tumours import draw_blobs

RADIUS_MM, RADIUS_SPREAD, RADIUS_RANGE_MM = 8.0, 0.45, (4.0, 30.0)
"""Median radius of a lesion, deviation of its logarithm, and its limits."""
SUV, SUV_SPREAD, SUV_RANGE = 6.5, 0.55, (3.0, 40.0)
"""Median uptake of a lesion, deviation of its logarithm, and its limits."""
LEAST_CONTRAST = 1.8
"""Least uptake over the warmest surroundings that it is put into [ratio]: below it nobody would call it."""
LEAST_SUVMAX = 2.5
"""An inserted lesion is at least so hot in the image."""
COLD_SUV, WARM_SUV = 0.25, 3.5
"""Uptake of places that lesions are put into: above that of air, below that of hot organs."""
APART_MM = 12.0
"""Gap between two lesions, and to the hot spots that are there [mm]."""
PSF_RANGE_MM, PSF_PART, PSF_DEFAULT_MM = (4.0, 9.0), 0.2, 6.5
"""Resolutions that are taken as such, the quantile of the foci's widths that is the image's, and that where an image
has too few foci (clinical PET)."""
_TRIES = 60
_SITE = Site("", "lesion", "", "", "", "", (), (1.0, 1.0))


@dataclass(frozen=True, eq=False)
class Inserted:
    """A lesion that was put into an image: its true mask in a box of the image."""

    box: Box
    mask: NDArray[np.bool_]

    def holds(self, ijk: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the voxels (n, 3) lie in it or at its surface."""
        low = np.array([b.start for b in self.box])
        at = ijk - low
        inside = ((at >= 0) & (at < np.array(self.mask.shape))).all(axis=1)
        found = np.zeros(len(ijk), bool)
        found[inside] = self.mask[tuple(at[inside].T)]
        return found


@dataclass(frozen=True)
class ImageQuality:
    """Full width at half maximum of the point spread and of the noise's correlation [mm], and the noise's standard
    deviation at SUV 1."""

    psf_fwhm_mm: float
    noise_fwhm_mm: float
    noise: float


def quality_of(volume: Volume, exam: ExamPeaks) -> ImageQuality:
    """The resolution of an image by its sharpest foci, and its noise by what changes from voxel to voxel in the body.

    Args:
        volume: SUV, RAS+.
        exam: its peaks.
    """
    array = np.asarray(volume.array, np.float32)
    peaks = exam.peaks
    sharp = (peaks.suv > 3.0) & (peaks.prominence_suv > 0.4 * peaks.suv)
    widths = _widths_mm(array, peaks.ijk[sharp], peaks.saddle_suv[sharp], volume.spacing_mm)
    psf = float(np.quantile(widths, PSF_PART)) if len(widths) >= 5 else PSF_DEFAULT_MM
    smooth = ndimage.uniform_filter(array, 3)
    body = (smooth > 0.4) & (smooth < 2.5)
    rest = np.where(body, (array - smooth) / np.sqrt(np.maximum(smooth, 0.1)), 0.0)
    values = rest[body]
    # The mean of 27 voxels takes a part of the noise with it.
    noise = 1.4826 * float(np.median(np.abs(values - np.median(values)))) * 1.15 if len(values) > 100 else 0.15
    return ImageQuality(float(np.clip(psf, *PSF_RANGE_MM)), 4.5, float(np.clip(noise, 0.02, 0.4)))


def _widths_mm(
    array: Floats, ijk: NDArray[np.int64], saddle_suv: NDArray[np.float64], spacing: Point
) -> NDArray[np.float64]:
    """Full widths at half maximum of peaks above their saddles, the mean over the axes, of a Gaussian through a voxel
    and its neighbours."""
    inside = ((ijk > 0) & (ijk < np.array(array.shape) - 1)).all(axis=1)
    ijk, floor = ijk[inside], saddle_suv[inside]
    top = array[tuple(ijk.T)].astype(np.float64) - floor
    total = np.zeros(len(ijk))
    for axis, step in enumerate(spacing):
        offset = np.eye(3, dtype=np.int64)[axis]
        sides = (array[tuple((ijk + offset).T)] + array[tuple((ijk - offset).T)]) / 2.0 - floor
        fall = np.log(top / np.clip(sides, 1e-3, 0.999 * top))
        total += step * np.sqrt(4.0 * np.log(2.0) / fall)
    return total / 3.0


def insert_lesions(
    volume: Volume, exam: ExamPeaks, count: int, rng: np.random.Generator
) -> tuple[Volume, list[Inserted]]:
    """An image with lesions put into it, and where they are; fewer than `count` where there is no room.

    Args:
        volume: SUV, RAS+.
        exam: its peaks, which lesions keep away from.
        count: lesions at most.
        rng: places, shapes and noise.
    """
    quality = quality_of(volume, exam)
    array = np.array(volume.array, np.float32)
    spacing = volume.spacing_mm
    grid = Grid(*(np.arange(n, dtype=np.float32) * np.float32(s) for n, s in zip(array.shape, spacing)))
    smooth = ndimage.gaussian_filter(array, fwhm_to_sigma(8.0, spacing))
    open_ = _body(smooth, spacing) & (smooth > COLD_SUV) & (smooth < WARM_SUV)
    hot = exam.peaks.ijk[(exam.peaks.suv >= LEAST_SUVMAX) & (exam.peaks.prominence_suv >= 0.3 * exam.peaks.suv)]
    taken = _near(array.shape, hot, spacing, APART_MM)
    noise = noise_field(array.shape, spacing, rng, quality.noise_fwhm_mm) * np.float32(quality.noise)
    made: list[Inserted] = []
    places = np.flatnonzero(open_ & ~taken)
    for _ in range(_TRIES * count):
        if len(made) >= count or not len(places):
            break
        at = np.unravel_index(int(rng.choice(places)), array.shape)
        if taken[at]:
            continue
        lesion = _drawn(grid, (int(at[0]), int(at[1]), int(at[2])), rng)
        one = _placed(array, smooth, taken, noise, lesion, grid, quality)
        if one is not None:
            made.append(one)
    return Volume(array, volume.affine), made


def _body(smooth: Floats, spacing: Point) -> NDArray[np.bool_]:
    """The body without its skin: two voxels of its outline are taken off."""
    body = ndimage.binary_fill_holes(ndimage.binary_opening(smooth > BODY_SUV, iterations=1))
    return np.asarray(ndimage.binary_erosion(body, iterations=max(1, round(8.0 / max(spacing)))))


def _near(shape: tuple[int, ...], ijk: NDArray[np.int64], spacing: Point, reach_mm: float) -> NDArray[np.bool_]:
    if not len(ijk):
        return np.zeros(shape, bool)
    away = np.ones(shape, bool)
    away[tuple(ijk.T)] = False
    return np.asarray(ndimage.distance_transform_edt(away, sampling=spacing) < reach_mm)


def _drawn(grid: Grid, at: tuple[int, int, int], rng: np.random.Generator) -> HardTumour:
    radius = float(np.clip(RADIUS_MM * np.exp(rng.normal(0, RADIUS_SPREAD)), *RADIUS_RANGE_MM))
    center = (float(grid.x[at[0]]), float(grid.y[at[1]]), float(grid.z[at[2]]))
    core = float(rng.uniform(0.35, 0.65)) if radius > 14 and rng.random() < 0.5 else 0.0
    return HardTumour(
        lesion_id="inserted",
        site=_SITE,
        center=center,
        blobs=draw_blobs(radius, radius > 12 or rng.random() < 0.2, rng),
        suv=float(np.clip(SUV * np.exp(rng.normal(0, SUV_SPREAD)), *SUV_RANGE)),
        core=core,
        gradient=float(rng.uniform(-0.3, 0.3)),
        edge_mm=min(float(rng.choice([2.0, 4.0, 8.0])), 0.4 * radius),
        rough_mm=float(rng.uniform(0, 0.08)) * radius if radius > 9 else 0.0,
        variation=float(rng.uniform(0.05, 0.4)) if radius > 8 else 0.05,
        grain_mm=float(rng.uniform(6, 18)),
        seed=int(rng.integers(2**31)),
    )


def _placed(
    array: Floats,
    smooth: Floats,
    taken: NDArray[np.bool_],
    noise: Floats,
    lesion: HardTumour,
    grid: Grid,
    quality: ImageQuality,
) -> Inserted | None:
    """Puts a lesion into the image where it fits; `array` and `taken` are changed."""
    bare = shape_of(lesion, grid, (1.0, 1.0, 1.0), 0.0)
    if bare is None or not bare.mask.any() or taken[bare.box][bare.mask].any():
        return None
    around = float(np.quantile(smooth[bare.box][bare.mask], 0.9))
    if around < COLD_SUV or around > 2 * WARM_SUV:
        return None
    lesion = replace(lesion, suv=max(lesion.suv, LEAST_CONTRAST * around))
    shape = shape_of(lesion, grid, (1.0, 1.0, 1.0), around)
    assert shape is not None
    spacing = (float(grid.x[1]), float(grid.y[1]), float(grid.z[1]))
    sigma = fwhm_to_sigma(quality.psf_fwhm_mm, spacing)
    margin = [int(np.ceil(3 * s)) for s in sigma]
    inner = shape.box
    box = (
        slice(max(0, inner[0].start - margin[0]), min(array.shape[0], inner[0].stop + margin[0])),
        slice(max(0, inner[1].start - margin[1]), min(array.shape[1], inner[1].stop + margin[1])),
        slice(max(0, inner[2].start - margin[2]), min(array.shape[2], inner[2].stop + margin[2])),
    )
    change = np.zeros([b.stop - b.start for b in box], np.float32)
    own = tuple(slice(i.start - b.start, i.stop - b.start) for i, b in zip(inner, box))
    change[own] = shape.occupancy * (shape.suv - smooth[inner])
    change = ndimage.gaussian_filter(change, sigma, truncate=3.0)
    before = array[box]
    after = before + change
    after = after + noise[box] * (np.sqrt(np.maximum(after, 0)) - np.sqrt(np.maximum(before, 0)))
    inside = after[own][shape.mask]
    if inside.max() < max(LEAST_SUVMAX, 1.3 * around):
        return None
    array[box] = np.maximum(after, 0)
    reach = ndimage.binary_dilation(shape.mask, iterations=1)
    taken[inner] |= reach
    wide = _near(tuple(b.stop - b.start for b in box), np.argwhere(change > 0.3 * change.max()), spacing, APART_MM / 2)
    taken[box] |= wide
    return Inserted(inner, shape.mask)
