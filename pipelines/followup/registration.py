"""Rigid registration of the PETs of two exams of a patient, and how well they lie on each other afterwards.

The height is found first: over all shifts along the body, that with the largest correlation of the two images. A
registration by mutual information (Mattes 2003) follows from there. What a rigid body cannot follow (breath, arms, a
turned head) is measured by block matching: each block of the body is shifted until it correlates best.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.volume import Volume, to_sitk
from pipelines.settings import FollowupSettings

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


BLOCK_SIGMA_MM = 60.0
"""How far a block's shift reaches (standard deviation): about a block's side, so that neighbours are averaged."""


class RegistrationError(ValueError):
    """Two exams cannot be laid on each other; the message says why."""


@dataclass(frozen=True, eq=False)
class Registration:
    """Where points of the prior exam lie in the exam.

    Args:
        matrix: 4 x 4, RAS mm of the prior exam to RAS mm of the exam.
        correlation: Of the two PETs where both were scanned, after registration.
        residual_mm: Median over the body's blocks of what is left between them.
        block_mm: (n, 3) centres of the blocks in the exam, RAS mm; `block_shift_mm` (n, 3) is what is left there.
    """

    matrix: Floats
    correlation: float
    residual_mm: float
    block_mm: Floats
    block_shift_mm: Floats

    def apply(self, prior_ras_mm: Floats) -> Floats:
        """Where points (n, 3) of the prior exam lie in the exam, by the rigid transform alone."""
        return np.asarray(prior_ras_mm) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def follow(self, prior_ras_mm: Floats) -> Floats:
        """The same with what is left of the blocks around each point, weighted by their distance from it."""
        at = self.apply(prior_ras_mm)
        return at + self._local_shift(at)

    def back(self, ras_mm: Floats) -> Floats:
        """Where points (n, 3) of the exam lie in the prior exam, the inverse of `follow` to first order."""
        inverse = np.linalg.inv(self.matrix)
        at = np.asarray(ras_mm) - self._local_shift(np.asarray(ras_mm))
        return at @ inverse[:3, :3].T + inverse[:3, 3]

    def _local_shift(self, at_mm: Floats) -> Floats:
        if not len(self.block_mm):
            return np.zeros_like(at_mm)
        squared = ((at_mm[:, None] - self.block_mm[None]) ** 2).sum(2)
        weight = np.exp(-squared / (2.0 * BLOCK_SIGMA_MM**2)) + 1e-12
        return np.asarray((weight @ self.block_shift_mm) / weight.sum(1, keepdims=True))

    @property
    def rotation_deg(self) -> float:
        """Angle of the rotation."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1.0) / 2.0
        return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def register(exam: Volume, prior: Volume, settings: FollowupSettings) -> Registration:
    """The rigid transform that lays a prior exam's PET (SUV) on an exam's.

    Raises:
        RegistrationError: the scans show no common part of the body, or correlate too little afterwards.
    """
    fixed, moving = _coarse(exam, settings), _coarse(prior, settings)
    start = _start(fixed, moving, settings)
    transform = _rigid(to_sitk(fixed), to_sitk(moving), start)
    # SimpleITK gives where points of the fixed image lie in the moving one, in LPS.
    there = np.eye(4)
    there[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    there[:3, 3] = np.array(transform.GetTranslation()) + centre - there[:3, :3] @ centre
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix = np.linalg.inv(lps @ there @ lps).astype(np.float64)
    laid, inside = _laid_on(fixed, moving, matrix)
    both = inside & ((fixed.array > settings.body_suv) | (laid > settings.body_suv))
    correlation = _correlation(fixed.array[both], laid[both]) if both.sum() > 100 else 0.0
    if correlation < settings.least_correlation:
        raise RegistrationError(
            f"expected two scans of one body, got a correlation of {correlation:.2f} (at least "
            f"{settings.least_correlation:g}): see whether both exams are of this patient"
        )
    at, shift = _blocks(fixed, laid, inside, settings)
    residual = float(np.median(np.linalg.norm(shift, axis=1))) if len(shift) else float(settings.grid_mm)
    return Registration(matrix, correlation, residual, at, shift)


def _coarse(volume: Volume, settings: FollowupSettings) -> Volume:
    """A PET for registration: SUV up to a bound, so that a bladder does not decide, on a coarse isotropic RAS grid."""
    image = sitk.Clamp(sitk.Cast(to_sitk(volume), sitk.sitkFloat32), sitk.sitkFloat32, 0.0, settings.most_suv)
    image = sitk.SmoothingRecursiveGaussian(image, settings.grid_mm / 2.0)
    corners = volume.to_ras_mm(np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1).T)
    low, high = corners.min(0), corners.max(0)
    shape = np.maximum(2, np.ceil((high - low) / settings.grid_mm).astype(int) + 1)
    affine = np.diag([settings.grid_mm] * 3 + [1.0])
    affine[:3, 3] = low
    grid = to_sitk(Volume(np.broadcast_to(np.float32(0), tuple(int(n) for n in shape)), affine))
    array = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, 0.0)).T
    return Volume(np.ascontiguousarray(array), affine)


def _start(fixed: Volume, moving: Volume, settings: FollowupSettings) -> Floats:
    """Shift (RAS mm) from the fixed to the moving image of the largest correlation, the bodies' axes aligned."""
    axis = [_axis(v, settings.body_suv) for v in (fixed, moving)]
    if any(len(a) == 0 for a in axis):
        raise RegistrationError("expected a body in both scans, got one without uptake: look at its SUV")
    across = np.median(axis[1], axis=0)[:2] - np.median(axis[0], axis=0)[:2]
    steps = np.round(across / settings.grid_mm).astype(int)
    origin = (moving.affine[:3, 3] - fixed.affine[:3, 3]) / settings.grid_mm
    x, y = (int(n) for n in np.round(steps - origin[:2]))
    a, b = fixed.array, moving.array
    best, best_dz = -2.0, 0
    least = int(np.ceil(settings.least_overlap * min(a.shape[2], b.shape[2])))
    for dz in range(-b.shape[2] + least, a.shape[2] - least + 1):
        # Slice k of the moving image lies on slice k + dz of the fixed one.
        parts = [_overlap(n, m, d) for n, m, d in zip(a.shape, b.shape, (-x, -y, dz))]
        one, two = a[tuple(p[0] for p in parts)], b[tuple(p[1] for p in parts)]
        if one.size == 0:
            continue
        body = (one > settings.body_suv) | (two > settings.body_suv)
        value = _correlation(one[body], two[body]) if body.sum() > 100 else -2.0
        if value > best:
            best, best_dz = value, dz
    if best == -2.0:
        raise RegistrationError("expected scans of one part of the body, got none in common: look at both exams")
    shift = np.array([x, y, -best_dz], float) * settings.grid_mm + moving.affine[:3, 3] - fixed.affine[:3, 3]
    return np.asarray(shift)


def _overlap(n: int, m: int, shift: int) -> tuple[slice, slice]:
    """The indices along an axis of n that one of m, moved by `shift`, lies on, and those of that one."""
    low, high = max(0, shift), min(n, m + shift)
    return slice(low, max(low, high)), slice(low - shift, max(low, high) - shift)


def _axis(volume: Volume, body_suv: float) -> Floats:
    """Middle of the body in each slice that shows one, RAS mm."""
    middles = []
    for k in range(volume.shape[2]):
        inside = np.argwhere(volume.array[:, :, k] > body_suv)
        if len(inside) > 10:
            middles.append(volume.to_ras_mm([*inside.mean(0), k]))
    return np.array(middles)


def _rigid(fixed: sitk.Image, moving: sitk.Image, shift_ras_mm: Floats) -> sitk.Euler3DTransform:
    start = sitk.Euler3DTransform()
    middle = [(n - 1) / 2 for n in fixed.GetSize()]
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint(middle))
    start.SetTranslation((shift_ras_mm * [-1.0, -1.0, 1.0]).tolist())
    with _one_thread():
        method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(4.0, 1e-3, 120, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([8, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, True)
    try:
        with _one_thread():
            method.Execute(fixed, moving)
    except RuntimeError as error:
        raise RegistrationError(
            "expected scans that overlap, got a registration that left the body: look at both exams"
        ) from error
    return start


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread in ITK, so that it sums in one order and equal images give equal transforms."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _laid_on(fixed: Volume, moving: Volume, matrix: Floats) -> tuple[Image, NDArray[np.bool_]]:
    """The moving image on the fixed one's grid, and where it was scanned."""
    back = np.linalg.inv(moving.affine) @ np.linalg.inv(matrix) @ fixed.affine
    laid = ndimage.affine_transform(
        moving.array, back[:3, :3], back[:3, 3], output_shape=fixed.shape, order=1, cval=-1.0
    )
    return laid, laid >= 0


def _correlation(a: Image, b: Image) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _blocks(fixed: Volume, laid: Image, inside: NDArray[np.bool_], settings: FollowupSettings) -> tuple[Floats, Floats]:
    """Centres (RAS mm) of the blocks of the body, and the shift of each that makes it correlate best, in mm."""
    size = max(3, round(settings.block_mm / settings.grid_mm))
    reach = max(1, round(settings.block_reach_mm / settings.grid_mm))
    counts = [n // size for n in fixed.shape]
    if 0 in counts:
        return np.empty((0, 3)), np.empty((0, 3))
    own = fixed.array[tuple(slice(0, n * size) for n in counts)]
    own = own - _spread(_block_means(own, size), size)
    norm = _block_means(own * own, size)
    padded, scanned = np.pad(laid, reach), np.pad(inside, reach)
    shifts = np.argwhere(np.ones([2 * reach + 1] * 3)) - reach
    values = np.full((len(shifts), *counts), -1.0)
    for n, shift in enumerate(shifts):
        there = tuple(slice(reach + s, reach + s + c * size) for s, c in zip(shift, counts))
        other = padded[there]
        mean = _block_means(other, size)
        spread = _block_means(other * other, size) - mean * mean
        whole = _block_means(scanned[there].astype(np.float32), size) == 1.0
        scale = np.sqrt(np.maximum(norm * spread, 1e-12))
        values[n] = np.where(whole, _block_means(own * other, size) / scale, -1.0)
    in_body = (
        _block_means((fixed.array[: own.shape[0], : own.shape[1], : own.shape[2]] > settings.body_suv), size) > 0.3
    )
    used = np.argwhere(in_body & (values.max(0) >= settings.least_block_correlation))
    at = fixed.to_ras_mm(used * size + (size - 1) / 2)
    side = 2 * reach + 1
    found = [_top(values[(slice(None), *block)].reshape(side, side, side)) - reach for block in used]
    # What lies at this shift in the laid image belongs here.
    return at, -np.array(found).reshape(-1, 3) * settings.grid_mm


def _top(values: NDArray[np.float64]) -> Floats:
    """Where values on a grid are highest, between its points: the top of a parabola along each axis."""
    best = np.unravel_index(int(values.argmax()), values.shape)
    top = np.array(best, float)
    for axis, at in enumerate(best):
        if 0 < at < values.shape[axis] - 1:
            line = np.take(values, (at - 1, at, at + 1), axis)
            before, here, after = line[tuple(slice(None) if n == axis else best[n] for n in range(3))]
            bend = before - 2 * here + after
            if bend < 0 and min(before, after) > -1.0:
                top[axis] += 0.5 * (before - after) / bend
    return top


def _block_means(array: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Means of blocks of an array whose sides are multiples of theirs."""
    a, b, c = (n // size for n in array.shape)
    return np.asarray(array.reshape(a, size, b, size, c, size).mean((1, 3, 5), dtype=np.float32))


def _spread(means: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Each block's value in all of its voxels."""
    return means.repeat(size, 0).repeat(size, 1).repeat(size, 2)
