"""Physiologic and inflammatory foci: what makes hundreds of peaks in a real exam that no report speaks of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.organ_labels import LABELS
from pipelines.phantom.body import Floats, Point
from pipelines.phantom.hard.anatomy import HardBody
from pipelines.phantom.scanner import Scan
from pipelines.phantom.tumours import Tumour

_RIBS = tuple(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13))
_SPINE = tuple(name for name in LABELS if name.startswith("vertebrae_"))
_LUNG = tuple(name for name in LABELS if name.startswith("lung_"))
_SOFT = "soft tissue"


@dataclass(frozen=True)
class FocusKind:
    """A kind of focus: where it lies, how many an exam has (mean), and its uptake above what is around.

    Args:
        hosts: Classes of the label map in which it lies, or `_SOFT` for unlabelled muscle; empty where `points` are.
        points: Where it lies else (body mm, the right one; mirrored to the left), spread by `spread_mm`.
        count: Mean number; drawn with the dispersion of real exams, where one patient has none and another dozens.
        suv: Median height above the surroundings, SUV; `sigma` is the deviation of its logarithm.
        fwhm_mm: Smallest and largest full width at half maximum in the image.
    """

    name: str
    count: float
    suv: float
    hosts: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()
    spread_mm: float = 5.0
    sigma: float = 0.45
    fwhm_mm: tuple[float, float] = (6.0, 10.0)


_JOINTS: tuple[Point, ...] = (
    (160, -8, -322), (148, 8, -300), (22, 72, -318), (96, 0, -918), (24, -72, -640), (24, -74, -700), (26, -78, -760),
    (20, -60, -330), (20, -30, -230), (60, -70, -800),
)  # fmt: skip
_NODES: tuple[Point, ...] = (
    (138, 6, -372), (40, -12, -452), (22, -8, -408), (78, 72, -945), (36, 6, -222), (46, 14, -297), (66, 34, -872),
)  # fmt: skip
_FAT: tuple[Point, ...] = ((62, 4, -300), (80, -10, -310), (36, -20, -270), (26, -76, -420), (26, -76, -480))
_URETER: tuple[Point, ...] = ((44, -34, -735), (42, -30, -770), (46, -20, -810), (40, 0, -860), (26, 14, -900))
_NECK: tuple[Point, ...] = ((15, 22, -202), (6, 32, -262), (30, 36, -222), (9, 50, -214), (52, 0, -184), (20, 30, -240))

_COMMON = (
    FocusKind("joint", 10, 1.5, points=_JOINTS, spread_mm=9),
    FocusKind("reactive node", 10, 1.7, points=_NODES, spread_mm=14, fwhm_mm=(6, 9)),
    FocusKind("ureter", 5, 7.0, points=_URETER, spread_mm=4, sigma=0.8, fwhm_mm=(6, 9)),
    FocusKind("calyx", 5, 8.0, ("kidney_right", "kidney_left"), sigma=0.6),
    FocusKind("lung inflammation", 12, 1.8, _LUNG, sigma=0.6),
    FocusKind("rib", 12, 1.8, _RIBS, fwhm_mm=(6, 9)),
    FocusKind("spine", 40, 1.3, _SPINE),
    FocusKind("soft tissue", 130, 1.5, (_SOFT,), sigma=0.5),
    FocusKind("stomach", 5, 1.5, ("stomach", "esophagus")),
)
_OF_TRACER: dict[str, tuple[FocusKind, ...]] = {
    "FDG": (
        FocusKind("bowel", 32, 1.8, ("small_bowel", "colon", "duodenum"), sigma=0.6, fwhm_mm=(7, 14)),
        FocusKind("neck", 8, 2.2, points=_NECK, spread_mm=4),
        FocusKind("brown fat", 8, 3.0, points=_FAT, spread_mm=14, sigma=0.6),
        FocusKind("brain", 30, 3.0, ("brain",)),
        FocusKind("myocardium", 6, 2.5, ("heart",), fwhm_mm=(8, 14)),
    ),
    "DCFPyL": (
        FocusKind("bowel", 34, 4.0, ("small_bowel", "duodenum"), sigma=0.6, fwhm_mm=(7, 14)),
        FocusKind("ganglion", 6, 2.2, points=((14, -18, -640), (16, -30, -300), (14, -60, -830)), spread_mm=6),
        FocusKind("unspecific bone", 12, 1.8, (*_RIBS, *_SPINE), fwhm_mm=(6, 8)),
        FocusKind("gland", 6, 6.0, points=_NECK, spread_mm=5),
        FocusKind("liver", 14, 1.6, ("liver",)),
    ),
    "DOTATATE": (
        FocusKind("bowel", 34, 3.0, ("small_bowel", "colon", "duodenum"), sigma=0.6, fwhm_mm=(7, 14)),
        FocusKind("pancreas", 4, 3.0, ("pancreas",)),
        FocusKind("liver", 14, 1.8, ("liver",)),
        FocusKind("spleen", 8, 4.0, ("spleen",)),
        FocusKind("gland", 4, 1.5, points=_NECK, spread_mm=5),
    ),
}
_DISPERSION = 0.5
"""Deviation of the logarithm of an exam's number of foci of one kind about its mean."""


@dataclass(frozen=True)
class Focus:
    """A focus: its kind, centre (body mm), height above the surroundings (SUV) and full widths in the image (mm)."""

    kind: str
    center: Point
    suv: float
    fwhm_mm: Point


def draw_foci(body: HardBody, scale: Point, rng: np.random.Generator) -> list[Focus]:
    """The foci of an exam; those outside of the scan are left out."""
    foci = []
    for kind in (*_COMMON, *_OF_TRACER[body.tracer]):
        count = int(rng.poisson(kind.count * np.exp(rng.normal(0, _DISPERSION))))
        for center in _centers(kind, count, body, rng):
            width = float(rng.uniform(*kind.fwhm_mm))
            stretch = np.exp(rng.normal(0, 0.18, 3))
            suv = kind.suv * float(np.exp(rng.normal(0, kind.sigma)))
            foci.append(Focus(kind.name, center, suv, tuple(float(width * s) for s in stretch)))  # type: ignore[arg-type]
    return foci


def _centers(kind: FocusKind, count: int, body: HardBody, rng: np.random.Generator) -> list[Point]:
    grid, labels = body.grid, body.painted.labels
    if kind.points:
        spots = [kind.points[int(n)] for n in rng.integers(len(kind.points), size=count)]
        drawn = []
        for x, y, z in spots:
            side = 1 if rng.random() < 0.5 else -1
            dx, dy, dz = np.clip(rng.normal(0, 1, 3), -2, 2) * kind.spread_mm
            drawn.append(body.posture.apply((side * x + float(dx), y + float(dy), z + float(dz))))
        return [c for c in drawn if grid.z[0] < c[2] < grid.z[-1]]
    voxels = _voxels_of(kind, labels, body.painted.hu)
    if len(voxels) == 0:
        return []
    i, j, k = np.unravel_index(rng.choice(voxels, size=count), labels.shape)
    return [(float(grid.x[a]), float(grid.y[b]), float(grid.z[c])) for a, b, c in zip(i, j, k)]


def _voxels_of(kind: FocusKind, labels: NDArray[np.uint8], hu: Floats) -> NDArray[np.intp]:
    if kind.hosts == (_SOFT,):
        return np.flatnonzero((labels == 0) & (hu > 0) & (hu < 100))
    wanted = np.zeros(256, bool)
    wanted[[LABELS[name] for name in kind.hosts]] = True
    return np.flatnonzero(wanted[labels])


def add_foci(scan: Scan, body: HardBody, foci: Sequence[Focus], lesions: Sequence[Tumour], scale: Point) -> int:
    """Adds the foci that do not lie in a lesion to a scan; returns how many."""
    grid, added = body.grid, 0
    for focus in foci:
        center = np.array(focus.center)
        reach = 0.7 * max(focus.fwhm_mm)
        if any(np.linalg.norm((center - t.center) * scale) < t.reach_mm + reach for t in lesions):
            continue
        sigma = np.array(focus.fwhm_mm) / (2.355 * np.array(scale))
        low, high = center - 3 * sigma, center + 3 * sigma
        box = grid.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        x, y, z = (np.exp(-0.5 * ((a - c) / s) ** 2) for a, c, s in zip(grid.open(box), center, sigma))
        scan.brighten(box, (focus.suv * x * y * z).astype(np.float32))
        added += 1
    return added
