"""Scenes with a known truth for the imaging core: blurred, noisy spheres, pairs, rings, organs, nodes that touch.

Positions in mm from the corner of the volume; every scene is seeded. Used by benchmarks/imaging.py,
benchmarks/contours.py and the tests of the contours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter, maximum_filter

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


@dataclass(frozen=True)
class DrawnNodes:
    """Nodes as a reader draws them: `touching` of 11 in a conglomerate, the others apart; the contour lies grow_mm
    outside of the node, by another distance for each (grow_sd_mm). Rims as in NodeSettings, each node's by a factor of
    its own (rim_sd)."""

    spacing_mm: tuple[float, float, float]
    fwhm_mm: float
    median_ml: float
    sd_ml: float
    touching: int
    rim_suv: float | None
    rim: float
    rim_sd: float
    power: float
    texture: float
    grow_mm: float
    grow_sd_mm: float
    necrotic: bool
    background_suv: float
    background_texture: float
    noise: float
    overlap: float


def drawn_settings(rng: np.random.Generator) -> DrawnNodes:
    """Settings drawn over what real exams may be: grids, blur, sizes, uptake towards the rim, how generous a reader."""
    spacings = ((3.4, 3.4, 3.4), (2.04, 2.04, 3.0), (4.07, 4.07, 3.0), (2.7, 2.7, 3.3), (4.07, 4.07, 5.0))
    return DrawnNodes(
        spacing_mm=spacings[rng.integers(len(spacings))],
        fwhm_mm=rng.uniform(4.5, 8),
        median_ml=np.exp(rng.uniform(np.log(2), np.log(10))),
        sd_ml=rng.uniform(0.5, 1.2),
        touching=int(rng.integers(5, 12)),
        rim_suv=rng.uniform(1.8, 5) if rng.random() < 0.5 else None,
        rim=rng.uniform(0.1, 0.6),
        rim_sd=rng.uniform(0, 0.5),
        power=rng.choice([0.6, 1.0, 1.8]),
        texture=rng.uniform(0.1, 0.6),
        grow_mm=rng.uniform(0.5, 4),
        grow_sd_mm=rng.uniform(0.3, 2.5),
        necrotic=bool(rng.random() < 0.5),
        background_suv=rng.uniform(0.7, 1.6),
        background_texture=rng.uniform(0, 0.35),
        noise=rng.uniform(0.02, 0.08),
        overlap=rng.uniform(0.78, 1.1),
    )


def drawn_nodes(seed: int) -> tuple[Scene, Scene] | None:
    """11 nodes of SUVmax 5 to 22 by drawn settings: the scene with a reader's contours as labels, and with the nodes
    themselves (whose peaks are the lesions'). None where they cannot be placed."""
    rng = np.random.default_rng(seed)
    s = drawn_settings(rng)
    size, spacing = np.array([160.0, 130.0, 190.0]), np.array(s.spacing_mm)
    shape = tuple(int(n) for n in np.floor(size / spacing))
    placed = None
    for _ in range(20):
        volumes = np.sort(np.clip(np.exp(rng.normal(np.log(s.median_ml), s.sd_ml, 11)), 0.8, 40))[::-1]
        placed = _conglomerate(volumes, s, size, rng)
        if placed is not None:
            break
    if placed is None:
        return None
    lumps = noise_field(rng, shape, spacing, 5.0)
    points = _grid(np.array(shape), spacing)
    depth, labels = np.full(shape, np.inf), np.zeros(shape, dtype=np.int16)
    for n, (centre, radius) in enumerate(placed, 1):
        axes = np.exp(rng.normal(0, 0.15, 3))
        turned = (points - centre) @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
        here = np.linalg.norm(turned / (radius * axes / np.prod(axes) ** (1 / 3)), axis=-1) * (1 + 0.12 * lumps)
        take = (here < 1) & (here < depth)
        labels[take], depth[take] = n, here[take]
    image = s.background_suv * np.exp(s.background_texture * noise_field(rng, shape, spacing, 8.0))
    for n, suvmax in enumerate(rng.uniform(5, 22, 11), 1):
        inside = labels == n
        if inside.sum() < 3:
            return None
        above = suvmax - s.background_suv
        own = np.exp(rng.normal(0, s.rim_sd))
        rim = s.rim * own if s.rim_suv is None else max(0.05, (s.rim_suv * own - s.background_suv) / above)
        rim = min(0.95, rim)
        uptake = rim + (1 - rim) * (1 - depth[inside]) ** s.power
        if n == 2 and s.necrotic:
            uptake = np.where(depth[inside] < 0.45, 0.15, np.maximum(uptake, 0.8))
        uptake = uptake * np.exp(s.texture * noise_field(rng, shape, spacing, 4.0)[inside])
        image[inside] = s.background_suv + above * uptake / np.percentile(uptake, 98)
    nodes_ = _scanned(image, labels, spacing, s.fwhm_mm, s.noise, rng)
    outside = np.full((12, *shape), np.inf, dtype=np.float32)
    for n in range(1, 12):
        grow = s.grow_mm + rng.normal(0, s.grow_sd_mm)
        signed = distance_transform_edt(labels != n, sampling=spacing) - distance_transform_edt(
            labels == n, sampling=spacing
        )
        outside[n] = signed - grow * (1 + 0.3 * lumps)
    drawn = np.where(outside.min(0) <= 0, outside.argmin(0), 0)
    own_too = np.take_along_axis(outside, labels[None].astype(int), 0)[0] <= 0
    drawn = np.where((labels > 0) & own_too, labels, drawn).astype(np.int16)
    return Scene(nodes_.suv, drawn), nodes_


def _conglomerate(
    volumes_ml: NDArray[np.float64], s: DrawnNodes, size_mm: NDArray[np.float64], rng: np.random.Generator
) -> list[tuple[NDArray[np.float64], float]] | None:
    """Centre and radius of each sphere: `touching` of them in contact, the others 4 mm and more apart; None where there
    is no room."""
    found: dict[int, tuple[NDArray[np.float64], float]] = {}
    for n, index in enumerate(rng.permutation(len(volumes_ml))):
        radius = radius_mm(volumes_ml[index])
        for _ in range(3000):
            others = list(found.values())
            if not others:
                place = size_mm / 2 + rng.normal(0, 15, 3)
            elif n < s.touching:
                centre, beside = others[int(rng.integers(len(others)))]
                direction = rng.standard_normal(3)
                reach = (beside + radius) * rng.uniform(s.overlap - 0.1, s.overlap + 0.1)
                place = centre + direction / np.linalg.norm(direction) * reach
            else:
                place = rng.uniform(15 + radius, size_mm - 15 - radius)
            if (place - 1.2 * radius <= 8).any() or (place + 1.2 * radius >= size_mm - 8).any():
                continue
            least = [0.75 * (radius + r) if n < s.touching else radius + r + rng.uniform(4, 10) for _, r in others]
            if all(np.linalg.norm(place - c) >= d for (c, _), d in zip(others, least)):
                found[index] = (place, radius)
                break
        else:
            return None
    return [found[index] for index in range(len(volumes_ml))]


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
