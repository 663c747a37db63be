"""Scenes with a known truth for the imaging core: blurred, noisy spheres, pairs, rings, organs, nodes that touch.

Positions in mm from the corner of the volume; every scene is seeded. Used by benchmarks/imaging.py,
benchmarks/contours.py and the tests of the contours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter, maximum_filter

from pipelines.imaging.volume import Volume

FWHM_TO_SIGMA = 1.0 / 2.3548


def radius_mm(volume_ml: float) -> float:
    """Radius in mm of a sphere of a volume in mL."""
    return float((volume_ml * 3000.0 / 4.0 / np.pi) ** (1.0 / 3.0))


@dataclass(frozen=True)
class Ball:
    """A sphere of one uptake, with a cold core where core_mm > 0. Later balls of a scene lie over earlier ones."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    suv: float
    core_mm: float = 0.0
    core_suv: float = 1.0


@dataclass(frozen=True, eq=False)
class Scene:
    """An SUV volume and its truth: labels (i, j, k), n for the n-th lesion, 0 elsewhere."""

    suv: Volume
    labels: NDArray[np.int16]

    def peak(self, label: int) -> tuple[int, int, int]:
        """The hottest local maximum inside a lesion, as a reader would find it (a shoulder's hottest inner voxel)."""
        inside = self.labels == label
        image = self.suv.array
        tops = inside & (maximum_filter(image, 3) == image)
        if not tops.any():
            tops = binary_erosion(inside) if binary_erosion(inside).any() else inside
        i, j, k = np.unravel_index(int(np.where(tops, image, -1.0).argmax()), image.shape)
        return int(i), int(j), int(k)


def noise_field(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: NDArray[np.float64], correlation_mm: float
) -> NDArray[np.float64]:
    """Correlated noise of standard deviation 1: the grain of a reconstructed image (correlation_mm: sigma)."""
    field = gaussian_filter(rng.standard_normal(shape), correlation_mm / spacing_mm)
    return np.asarray(field / field.std())


def balls(
    items: list[Ball],
    spacing_mm: tuple[float, float, float],
    size_mm: tuple[float, float, float] = (120.0, 90.0, 90.0),
    background_suv: float = 1.0,
    fwhm_mm: float = 6.0,
    noise: float = 0.05,
    seed: int = 0,
) -> Scene:
    """Balls in a uniform background, sampled 2 x 2 x 2 a voxel, blurred and with relative noise; the label is the whole
    ball, core included."""
    rng = np.random.default_rng(seed)
    spacing = np.array(spacing_mm)
    shape = np.ceil(np.array(size_mm) / spacing).astype(int)
    fine = _grid(2 * shape, spacing / 2)
    values = np.full(tuple(2 * shape), background_suv, dtype=np.float32)
    centres = _grid(shape, spacing)
    labels = np.zeros(tuple(shape), dtype=np.int16)
    for n, ball in enumerate(items, 1):
        distance = np.linalg.norm(fine - np.array(ball.centre_mm), axis=-1)
        values[distance <= ball.radius_mm] = ball.suv
        values[distance <= ball.core_mm] = ball.core_suv
        labels[np.linalg.norm(centres - np.array(ball.centre_mm), axis=-1) <= ball.radius_mm] = n
    i, j, k = shape
    image = values.reshape(i, 2, j, 2, k, 2).mean((1, 3, 5))
    return _scanned(image, labels, spacing, fwhm_mm, noise, rng)


def sphere(
    volume_ml: float,
    spacing_mm: tuple[float, float, float],
    suv: float,
    fwhm_mm: float,
    noise: float = 0.05,
    seed: int = 0,
) -> Scene:
    """One sphere in the middle of a box that is just large enough, off the grid by a random part of a voxel."""
    radius = radius_mm(volume_ml)
    size = 2 * (radius + 22.0)
    offset = np.random.default_rng(seed).uniform(-0.5, 0.5, 3) * spacing_mm
    x, y, z = size / 2 + offset
    ball = Ball((float(x), float(y), float(z)), radius, suv)
    return balls([ball], spacing_mm, (size, size, size), fwhm_mm=fwhm_mm, noise=noise, seed=seed)


@dataclass(frozen=True)
class NodeSettings:
    """Nodes that touch in a cluster. rim: uptake at the surface as a part of the centre's, or rim_suv: the same for
    all."""

    n: int = 11
    rim: float = 0.4
    rim_suv: float | None = None
    texture: float = 0.3
    fwhm_mm: float = 6.0
    spacing_mm: tuple[float, float, float] = (3.4, 3.4, 3.4)
    size_mm: tuple[float, float, float] = (150.0, 120.0, 170.0)
    volumes_ml: tuple[float, float] = (1.0, 40.0)
    suvmax: tuple[float, float] = (5.0, 22.0)
    background_suv: float = 1.2
    noise: float = 0.05


def nodes(settings: NodeSettings, seed: int) -> Scene:
    """A cluster of lumpy nodes, each in contact with another, heterogeneous, the second largest with a necrotic
    centre."""
    rng = np.random.default_rng(seed)
    spacing = np.array(settings.spacing_mm)
    shape = np.floor(np.array(settings.size_mm) / spacing).astype(int)
    points = _grid(shape, spacing)
    volumes = np.sort(np.exp(rng.uniform(*np.log(settings.volumes_ml), settings.n)))[::-1]
    suvmax = rng.uniform(*settings.suvmax, settings.n)
    centres, radii = _packed(volumes, np.array(settings.size_mm), rng)
    lumps = noise_field(rng, tuple(shape), spacing, 5.0)
    depth = np.full(tuple(shape), np.inf)
    labels = np.zeros(tuple(shape), dtype=np.int16)
    for n, (centre, radius) in enumerate(zip(centres, radii), 1):
        axes = np.exp(rng.normal(0, 0.15, 3))
        turned = (points - centre) @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
        # 0 in the centre, 1 at the lumpy surface.
        here = np.linalg.norm(turned / (radius * axes / np.prod(axes) ** (1 / 3)), axis=-1) * (1 + 0.12 * lumps)
        take = (here < 1) & (here < depth)
        labels[take] = n
        depth[take] = here[take]
    image = np.full(tuple(shape), settings.background_suv)
    for n in range(1, settings.n + 1):
        inside = labels == n
        above = suvmax[n - 1] - settings.background_suv
        rim = settings.rim
        if settings.rim_suv is not None:
            rim = min(1.0, (settings.rim_suv - settings.background_suv) / above)
        uptake = rim + (1 - rim) * (1 - depth[inside])
        if n == 2:
            uptake = np.where(depth[inside] < 0.45, 0.15, np.maximum(uptake, 0.8))
        uptake = uptake * np.exp(settings.texture * noise_field(rng, tuple(shape), spacing, 4.0)[inside])
        image[inside] = settings.background_suv + above * uptake / np.percentile(uptake, 98)
    return _scanned(image, labels, spacing, settings.fwhm_mm, settings.noise, rng)


def _packed(
    volumes_ml: NDArray[np.float64], size_mm: NDArray[np.float64], rng: np.random.Generator
) -> tuple[list[NDArray[np.float64]], list[float]]:
    """Centres and radii of spheres that each touch an earlier one."""
    centres: list[NDArray[np.float64]] = []
    radii: list[float] = []
    for volume in volumes_ml:
        radius = radius_mm(volume)
        place = size_mm / 2 + rng.normal(0, 5, 3)
        for _ in range(2000):
            if not centres:
                break
            to = int(rng.integers(len(centres)))
            direction = rng.standard_normal(3)
            direction /= np.linalg.norm(direction)
            place = centres[to] + direction * (radii[to] + radius) * rng.uniform(0.8, 1.1)
            inside = (place - 1.2 * radius > 8).all() and (place + 1.2 * radius < size_mm - 8).all()
            free = all(np.linalg.norm(place - c) >= 0.78 * (radius + r) for c, r in zip(centres, radii))
            if inside and free:
                break
        centres.append(place)
        radii.append(radius)
    return centres, radii


def _grid(shape: NDArray[np.int64], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    axes = [(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _scanned(
    image: NDArray[np.floating],
    labels: NDArray[np.int16],
    spacing: NDArray[np.float64],
    fwhm_mm: float,
    noise: float,
    rng: np.random.Generator,
) -> Scene:
    blurred = gaussian_filter(np.asarray(image, dtype=float), fwhm_mm * FWHM_TO_SIGMA / spacing)
    seen = blurred * (1.0 + noise * noise_field(rng, image.shape, spacing, 2.5))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = spacing / 2
    return Scene(Volume(np.maximum(seen, 0).astype(np.float32), affine), labels)
