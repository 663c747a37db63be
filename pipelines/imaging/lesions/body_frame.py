"""Where along and across the body a point of an exam lies, read off the PET: shoulders, bladder, thighs, outline.

u runs along the body: 0 at the top of the shoulders, 1 at the bladder. Each anchor is taken only where the image shows
it; what is missing lowers the confidence and is never guessed from something else that is hot.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.peaks import PeakList
from pipelines.imaging.volume import Volume

BODY_SUV = 0.2
"""Uptake of the body's outline [SUV]: above that of air and table."""
STEP_MM = 4.0
"""The outline is read on a grid of about this spacing [mm]."""
TORSO_MM = 590.0
"""Shoulders to bladder where one of the two is not in the image [mm]: an adult of 170 cm."""
TORSO_RANGE_MM = (330.0, 760.0)
"""Shoulders to bladder that are taken as such [mm]: from a child of 10 years to 210 cm."""
NARROW = 0.62
"""Part of the trunk's width below which a slice is head, neck or legs."""
NECK_MM = 80.0
"""Height of what is narrow above the trunk from which it is a neck with a head, and the trunk's top the shoulders."""
BLADDER_ABOVE_THIGHS_MM = (20.0, 170.0)
"""Height of the bladder's hottest voxel over the slice where the thighs part [mm]."""
BLADDER_ML, BLADDER_SUV = 4.0, 6.0
"""Least volume above its saddle and least SUV of a bladder that is taken as an anchor."""


@dataclass(frozen=True, eq=False)
class BodyFrame:
    """The frame of an exam. Per slice (k): middle and half width along x, back and front along y, RAS mm; NaN where the
    slice shows no body.

    shoulder_z_mm, bladder_z_mm: RAS z of the anchors, null where the image does not show them.
    """

    shoulder_z_mm: float | None
    bladder_z_mm: float | None
    middle_mm: NDArray[np.float64]
    half_width_mm: NDArray[np.float64]
    back_mm: NDArray[np.float64]
    front_mm: NDArray[np.float64]

    @property
    def confidence(self) -> float:
        """1 with both anchors, 0.5 with one, 0 with none."""
        return 0.5 * (self.shoulder_z_mm is not None) + 0.5 * (self.bladder_z_mm is not None)

    def along(self, ras_mm: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """u of points (n, 3); null without an anchor."""
        top, bottom = self.shoulder_z_mm, self.bladder_z_mm
        if top is None and bottom is None:
            return None
        top = bottom + TORSO_MM if top is None and bottom is not None else top
        assert top is not None
        bottom = top - TORSO_MM if bottom is None else bottom
        return (top - ras_mm[:, 2]) / (top - bottom)

    def across(self, ras_mm: NDArray[np.float64], k: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distance (n,) of points (n, 3) on slices k from the middle of the body in mm, positive to the patient's
        right; NaN where the slice shows no body."""
        return np.asarray(ras_mm[:, 0] - self.middle_mm[k])

    def lateral(self, ras_mm: NDArray[np.float64], k: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same as a part of half the body's width, without its sign."""
        return np.abs(self.across(ras_mm, k)) / self.half_width_mm[k]

    def depth(self, ras_mm: NDArray[np.float64], k: NDArray[np.int64]) -> NDArray[np.float64]:
        """Where points (n, 3) on slices k lie between back (0) and front (1)."""
        return np.asarray((ras_mm[:, 1] - self.back_mm[k]) / np.maximum(self.front_mm[k] - self.back_mm[k], 1.0))

    def to_arrays(self) -> dict[str, Any]:
        """The frame as arrays by name, for a file."""
        return {name: np.nan if value is None else value for name, value in asdict(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Any) -> Self:
        """The frame of such arrays."""
        values = {name: np.asarray(arrays[name], dtype=np.float64) for name in cls.__dataclass_fields__}
        anchors = {
            name: None if np.isnan(values[name]) else float(values[name]) for name in ("shoulder_z_mm", "bladder_z_mm")
        }
        return cls(**{**values, **anchors})  # type: ignore[arg-type]  # arrays and anchors by name


@dataclass(frozen=True, eq=False)
class _Outline:
    """Body by slice on a coarse grid: RAS z, ends along x and y (NaN where there is none), whether the middle is
    empty between two sides."""

    z_mm: NDArray[np.float64]
    x_mm: NDArray[np.float64]
    y_mm: NDArray[np.float64]
    parted: NDArray[np.bool_]
    step_mm: float


def body_frame(volume: Volume, peaks: PeakList) -> BodyFrame:
    """The frame of a RAS+ volume, with what its outline and its peaks show.

    Args:
        volume: SUV in RAS+ order.
        peaks: its local maxima, as `find_peaks` gives them.
    """
    outline = _outline(volume)
    n = volume.shape[2]
    z_mm = volume.to_ras_mm(np.stack([np.zeros(n), np.zeros(n), np.arange(n)], axis=1))[:, 2]

    def at_slices(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(values)
        if not known.any():
            return np.full(n, np.nan)
        return np.interp(z_mm, outline.z_mm[known], values[known])

    (x0, x1), (y0, y1) = outline.x_mm, outline.y_mm
    frame = BodyFrame(None, None, at_slices((x0 + x1) / 2), at_slices((x1 - x0) / 2), at_slices(y0), at_slices(y1))
    width = _smooth(np.nan_to_num(x1 - x0), outline.step_mm)
    shoulder = _shoulder(outline, width)
    thighs = _thighs(outline)
    return replace(frame, shoulder_z_mm=shoulder, bladder_z_mm=_bladder(volume, peaks, frame, shoulder, thighs, z_mm))


def _outline(volume: Volume) -> _Outline:
    step = [max(1, round(STEP_MM / s)) for s in volume.spacing_mm]
    body = np.asarray(volume.array[:: step[0], :: step[1], :: step[2]] > BODY_SUV)
    n = body.shape[2]
    x, y = np.full((2, n), np.nan), np.full((2, n), np.nan)
    parted = np.zeros(n, bool)
    spacing = [s * t for s, t in zip(volume.spacing_mm, step)]
    corner = volume.to_ras_mm([0, 0, 0])
    for k in range(n):
        plane = ndimage.binary_opening(body[:, :, k])
        labels, count = ndimage.label(plane)
        if not count:
            continue
        sizes = np.bincount(labels.ravel())[1:]
        order = np.argsort(-sizes)
        main = labels == order[0] + 1
        if count > 1 and sizes[order[1]] > 0.5 * sizes[order[0]]:
            other = labels == order[1] + 1
            a, b = (np.flatnonzero(m.any(axis=1)) for m in (main, other))
            # Side by side and of one size: two thighs.
            parted[k] = a[-1] < b[0] or b[-1] < a[0]
            main = main | other if parted[k] else main
        i, j = np.flatnonzero(main.any(axis=1)), np.flatnonzero(main.any(axis=0))
        x[:, k] = corner[0] + i[[0, -1]] * spacing[0]
        y[:, k] = corner[1] + j[[0, -1]] * spacing[1]
    return _Outline(corner[2] + np.arange(n) * spacing[2], x, y, parted, spacing[2])


def _smooth(values: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    return np.asarray(ndimage.median_filter(values, max(1, int(24 / step_mm)) | 1))


def _shoulder(outline: _Outline, width: NDArray[np.float64]) -> float | None:
    """RAS z of the top of the trunk, below a head and neck that the image shows; else null. The trunk is the longest
    run of broad slices: arms above the head are a shorter one."""
    if not (width > 0).any():
        return None
    labels, count = ndimage.label(width >= NARROW * np.percentile(width[width > 0], 85))
    if not count:
        return None
    trunk = np.flatnonzero(labels == 1 + int(np.bincount(labels)[1:].argmax()))
    top = int(trunk[-1])
    narrow = (width > 0)[top + 1 :].sum() * outline.step_mm
    return float(outline.z_mm[top]) if narrow >= NECK_MM else None


def _thighs(outline: _Outline) -> float | None:
    """RAS z of the highest slice of a run of at least 40 mm in the lower half in which two thighs are apart; null
    where the image shows none."""
    least = max(2, int(40 / outline.step_mm))
    labels, count = ndimage.label(outline.parted)
    for n in range(count, 0, -1):
        run = np.flatnonzero(labels == n)
        if len(run) >= least and run[-1] < 0.55 * len(outline.z_mm):
            return float(outline.z_mm[run[-1]])
    return None


def _bladder(
    volume: Volume,
    peaks: PeakList,
    frame: BodyFrame,
    shoulder: float | None,
    thighs: float | None,
    z_mm: NDArray[np.float64],
) -> float | None:
    """RAS z of the bladder: the hottest large peak in the middle of the pelvis; where there is none, a place above the
    thighs; else null."""
    above_thighs = None if thighs is None else thighs + sum(BLADDER_ABOVE_THIGHS_MM) / 2
    if thighs is None and shoulder is None:
        return None
    ras = volume.to_ras_mm(peaks.ijk)
    k = peaks.ijk[:, 2]
    large = peaks.voxels * volume.voxel_ml >= BLADDER_ML
    depth = frame.depth(ras, k)
    ok = (frame.lateral(ras, k) < 0.2) & (depth > 0.3) & (depth < 0.9) & large & (peaks.suv > BLADDER_SUV)
    if thighs is not None:
        low, high = BLADDER_ABOVE_THIGHS_MM
        ok &= (ras[:, 2] >= thighs + low) & (ras[:, 2] <= thighs + high)
    else:
        # Without thighs a bladder is at the lower end of the image: what is hot higher up is something else.
        ok &= (ras[:, 2] - z_mm[0] < BLADDER_ABOVE_THIGHS_MM[1]) & (ras[:, 2] - z_mm[0] > 15)
    if shoulder is not None:
        below = shoulder - ras[:, 2]
        ok &= (below > TORSO_RANGE_MM[0]) & (below < TORSO_RANGE_MM[1])
    if ok.any():
        return float(ras[np.flatnonzero(ok)[np.argmax((peaks.suv * peaks.voxels)[ok])], 2])
    if above_thighs is None:
        return None
    if shoulder is not None and not TORSO_RANGE_MM[0] < shoulder - above_thighs < TORSO_RANGE_MM[1]:
        return None
    return above_thighs
