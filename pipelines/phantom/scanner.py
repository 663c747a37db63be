"""From the ideal activity to the image: point spread, noise, and lesions added locally.

Blurring is linear, so a lesion's change of the image is blurred in its own box and added: a lesion that must be drawn
again costs milliseconds, not a whole-body filter.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipelines.phantom.body import Floats

PSF_FWHM_MM = 6.0
NOISE_FWHM_MM = 4.5
_TRUNCATE = 3.0


def fwhm_to_sigma(fwhm_mm: float, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Gaussian sigma in voxels along i, j, k for a full width at half maximum in mm."""
    sigma_mm = fwhm_mm / (2 * np.sqrt(2 * np.log(2)))
    return tuple(sigma_mm / s for s in spacing_mm)  # type: ignore[return-value]  # three spacings in, three out


def noise_field(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
    fwhm_mm: float = NOISE_FWHM_MM,
) -> Floats:
    """Correlated noise of mean 0 and standard deviation 1, float32, shape (i, j, k)."""
    field = ndimage.gaussian_filter(
        rng.standard_normal(shape, dtype=np.float32),
        fwhm_to_sigma(fwhm_mm, spacing_mm),
        mode="wrap",
        truncate=_TRUNCATE,
    )
    return (field / field.std()).astype(np.float32)


@dataclass(frozen=True)
class Scanner:
    """How an image is made: full width at half maximum of the point spread and of the noise's correlation (mm), and the
    noise's standard deviation at SUV 1.
    """

    noise: float
    psf_fwhm_mm: float = PSF_FWHM_MM
    noise_fwhm_mm: float = NOISE_FWHM_MM


@dataclass(frozen=True)
class Change:
    """A lesion's part of the image: the box it reaches, what it adds there to the ideal and to the blurred SUV."""

    box: tuple[slice, slice, slice]
    ideal_suv: Floats
    blurred_suv: Floats


class Scan:
    """An image under construction: the blurred body, lesions in it, and one fixed realisation of noise.

    `image` is what a scanner would give: SUV, float32, shape (i, j, k).
    """

    def __init__(
        self, ideal_suv: Floats, spacing_mm: tuple[float, float, float], scanner: Scanner, rng: np.random.Generator
    ) -> None:
        """The noise grows with the root of the SUV as counting noise does."""
        self.ideal = ideal_suv.copy()
        self._sigma = fwhm_to_sigma(scanner.psf_fwhm_mm, spacing_mm)
        self._blurred = ndimage.gaussian_filter(ideal_suv, self._sigma, truncate=_TRUNCATE)
        self._noise = noise_field(ideal_suv.shape, spacing_mm, rng, scanner.noise_fwhm_mm) * np.float32(scanner.noise)
        self.image = np.zeros_like(ideal_suv)
        self._draw((slice(None), slice(None), slice(None)))

    def add(self, box: tuple[slice, slice, slice], occupancy: Floats, suv: Floats | float) -> Change:
        """Fills the share `occupancy` (0..1) of each voxel of `box` with `suv`; returns what `remove` needs to undo
        it.
        """
        margin = [int(np.ceil(_TRUNCATE * s)) + 1 for s in self._sigma]
        wide = (
            slice(max(0, box[0].start - margin[0]), box[0].stop + margin[0]),
            slice(max(0, box[1].start - margin[1]), box[1].stop + margin[1]),
            slice(max(0, box[2].start - margin[2]), box[2].stop + margin[2]),
        )
        delta = np.zeros_like(self.ideal[wide])
        inner = tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wide))
        delta[inner] = occupancy * (suv - self.ideal[box])
        change = Change(wide, delta, ndimage.gaussian_filter(delta, self._sigma, truncate=_TRUNCATE, mode="nearest"))
        self._apply(change, 1)
        return change

    def brighten(self, box: tuple[slice, slice, slice], suv: Floats) -> None:
        """Adds uptake that is already as blurred as the scanner makes it."""
        self._blurred[box] += suv
        self._draw(box)

    def remove(self, change: Change) -> None:
        """Takes a lesion out again (whatever was added after it keeps its own change)."""
        self._apply(change, -1)

    def _apply(self, change: Change, sign: int) -> None:
        self.ideal[change.box] += sign * change.ideal_suv
        self._blurred[change.box] += sign * change.blurred_suv
        self._draw(change.box)

    def _draw(self, box: tuple[slice, slice, slice]) -> None:
        mean = np.clip(self._blurred[box], 0, None)
        self.image[box] = np.clip(mean + np.sqrt(mean) * self._noise[box], 0, None)
