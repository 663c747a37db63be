"""The digital body: organs as ellipsoids, tubes and shells, painted onto any grid as labels, SUV and HU.

All shapes live in body coordinates, RAS mm with the vertex of the head at z = 0 and the mid-thigh near z = -1110; a
patient is this body scaled along its axes with organs moved and resized a little. Labels are the class numbers of
TotalSegmentator v2, task `total`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.organ_labels import LABELS

Floats = NDArray[np.float32]
Point = tuple[float, float, float]

UPTAKE: dict[str, dict[str, float]] = {
    "FDG": {
        "fat": 0.25,
        "muscle": 0.65,
        "bone": 1.0,
        "marrow": 1.5,
        "lung": 0.45,
        "air": 0.05,
        "brain": 8.0,
        "blood": 1.6,
        "myocardium": 5.0,
        "liver": 2.1,
        "spleen": 1.7,
        "stomach": 1.6,
        "pancreas": 1.5,
        "adrenal": 1.5,
        "kidney": 2.8,
        "excreted": 22.0,
        "bladder": 30.0,
        "bowel": 1.5,
        "thyroid": 1.3,
        "prostate": 1.7,
        "gallbladder": 0.9,
        "cord": 1.4,
        "esophagus": 1.6,
    },
    "DOTATATE": {
        "fat": 0.2,
        "muscle": 0.5,
        "bone": 0.6,
        "marrow": 0.8,
        "lung": 0.4,
        "air": 0.05,
        "brain": 0.2,
        "blood": 1.1,
        "myocardium": 1.2,
        "liver": 5.0,
        "spleen": 17.0,
        "stomach": 3.0,
        "pancreas": 2.5,
        "adrenal": 5.0,
        "kidney": 11.0,
        "excreted": 18.0,
        "bladder": 24.0,
        "bowel": 2.0,
        "thyroid": 2.2,
        "prostate": 1.5,
        "gallbladder": 1.5,
        "cord": 0.7,
        "esophagus": 1.2,
    },
    "DCFPyL": {
        "fat": 0.2,
        "muscle": 0.5,
        "bone": 0.6,
        "marrow": 0.7,
        "lung": 0.4,
        "air": 0.05,
        "brain": 0.2,
        "blood": 1.3,
        "myocardium": 1.3,
        "liver": 5.0,
        "spleen": 4.5,
        "stomach": 1.8,
        "pancreas": 1.8,
        "adrenal": 2.0,
        "kidney": 20.0,
        "excreted": 26.0,
        "bladder": 28.0,
        "bowel": 2.5,
        "thyroid": 1.2,
        "prostate": 2.4,
        "gallbladder": 1.5,
        "cord": 0.7,
        "esophagus": 1.2,
    },
}
"""Mean SUVbw of each tissue by tracer, the order of magnitude of the literature on normal uptake."""

HU: dict[str, float] = {
    "fat": -100,
    "muscle": 50,
    "bone": 500,
    "marrow": 230,
    "lung": -820,
    "air": -990,
    "brain": 35,
    "blood": 42,
    "myocardium": 48,
    "liver": 60,
    "spleen": 50,
    "stomach": 30,
    "pancreas": 40,
    "adrenal": 35,
    "kidney": 34,
    "excreted": 10,
    "bladder": 6,
    "bowel": 25,
    "thyroid": 95,
    "prostate": 42,
    "gallbladder": 8,
    "cord": 38,
    "esophagus": 30,
}
"""CT number of each tissue."""


@dataclass(frozen=True)
class Ellipsoid:
    """One organ part: `tilt_deg` turns it about the front-back axis, positive: its top goes to the right."""

    label: str
    tissue: str
    center: Point
    radii: Point
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Tube:
    """One organ part: every point within `radius` mm of a polyline."""

    label: str
    tissue: str
    points: tuple[Point, ...]
    radius: float


Part = Ellipsoid | Tube


def _both(label: str, tissue: str, center: Point, radii: Point, tilt_deg: float = 0.0) -> list[Part]:
    """The right part as given and its mirror image on the left."""
    x, y, z = center
    return [
        Ellipsoid(f"{label}_right", tissue, center, radii, tilt_deg),
        Ellipsoid(f"{label}_left", tissue, (-x, y, z), radii, -tilt_deg),
    ]


def _both_tubes(label: str, tissue: str, points: tuple[Point, ...], radius: float) -> list[Part]:
    return [
        Tube(f"{label}_right", tissue, points, radius),
        Tube(f"{label}_left", tissue, tuple((-x, y, z) for x, y, z in points), radius),
    ]


def _spine() -> list[Part]:
    """Vertebral bodies C1..L5, S1 and the sacrum along the curve of the back."""
    parts: list[Part] = []
    levels = [("C", 7, -175.0, 16.4, 11.0), ("T", 12, -290.0, 25.0, 15.0), ("L", 5, -590.0, 35.0, 21.0)]
    for letter, count, top, height, radius in levels:
        for n in range(1, count + 1):
            z = top - (n - 0.5) * height
            parts.append(
                Ellipsoid(
                    f"vertebrae_{letter}{n}", "marrow", (0, spine_y(z), z), (1.25 * radius, radius, 0.58 * height)
                )
            )
    parts.append(Ellipsoid("vertebrae_S1", "marrow", (0, -62, -782), (32, 20, 18)))
    parts.append(Ellipsoid("sacrum", "marrow", (0, -78, -835), (34, 16, 42)))
    return parts


def spine_y(z: float) -> float:
    """Front-back position (body mm) of the vertebral bodies at height z."""
    return float(np.interp(-z, [175, 290, 430, 590, 700, 800], [-12, -38, -66, -58, -42, -66]))


_BOWEL: tuple[Point, ...] = (
    (40, 40, -740),
    (-45, 55, -745),
    (-60, 30, -770),
    (30, 60, -775),
    (62, 35, -795),
    (-20, 30, -800),
    (-62, 45, -815),
    (10, 55, -830),
    (55, 40, -842),
)
_COLON: tuple[Point, ...] = (
    (92, 15, -840),
    (95, 5, -735),
    (88, 30, -705),
    (40, 78, -715),
    (-40, 78, -710),
    (-92, 20, -685),
    (-100, -5, -740),
    (-98, 0, -840),
    (-55, 5, -872),
    (-20, -30, -868),
    (0, -52, -900),
    (0, -50, -945),
)


def standard_parts() -> list[Part]:
    """The parts in the order of painting; what is painted later lies on top."""
    return [
        Ellipsoid("skull", "bone", (0, 8, -98), (72, 90, 79)),
        Ellipsoid("brain", "brain", (0, 8, -95), (63, 80, 66)),
        *_spine(),
        Tube("spinal_cord", "cord", ((0, -30, -180), (0, -62, -300), (0, -90, -430), (0, -82, -600)), 5),
        *_both_tubes("autochthon", "muscle", ((30, -78, -330), (32, -92, -450), (32, -86, -620), (30, -84, -780)), 18),
        *_both_tubes("iliopsoas", "muscle", ((40, -34, -640), (48, -22, -760), (68, 12, -860), (86, 20, -930)), 18),
        *_both_tubes("clavicula", "bone", ((20, 72, -312), (80, 62, -300), (150, 5, -296)), 8),
        *_both("scapula", "bone", (112, -84, -375), (34, 8, 60), -15),
        *_both("humerus", "bone", (162, -10, -325), (24, 24, 25)),
        Ellipsoid("sternum", "marrow", (0, 92, -410), (18, 8, 78)),
        Tube("trachea", "air", ((0, 12, -245), (0, 0, -330), (0, -18, -420)), 8.5),
        Tube("esophagus", "esophagus", ((0, -4, -260), (0, -34, -400), (-8, -38, -520), (-30, -5, -585)), 7),
        Ellipsoid("thyroid_gland", "thyroid", (19, 24, -266), (10, 10, 23)),
        Ellipsoid("thyroid_gland", "thyroid", (-19, 24, -266), (10, 10, 23)),
        Tube("superior_vena_cava", "blood", ((26, 8, -340), (26, 5, -450)), 9),
        Tube("inferior_vena_cava", "blood", ((24, -15, -560), (20, -14, -690), (16, -14, -770)), 10),
        Ellipsoid("heart", "blood", (-18, 32, -500), (56, 46, 56), 20),
        Ellipsoid("heart", "myocardium", (-42, 34, -510), (37, 35, 42), 35),
        Ellipsoid("heart", "blood", (-40, 34, -505), (26, 24, 32), 35),
        Tube(
            "aorta",
            "blood",
            (
                (6, 24, -465),
                (10, 26, -405),
                (-4, 0, -388),
                (-22, -32, -402),
                (-24, -40, -520),
                (-10, -22, -620),
                (-8, -14, -740),
            ),
            12,
        ),
        Ellipsoid("spleen", "spleen", (-98, -38, -600), (30, 42, 52), 10),
        Ellipsoid("stomach", "stomach", (-58, 42, -618), (36, 34, 46), 20),
        Tube("pancreas", "pancreas", ((34, 16, -672), (10, 22, -655), (-40, 6, -646), (-72, -12, -632)), 12),
        Tube("duodenum", "bowel", ((22, 34, -655), (48, 14, -668), (46, 4, -715), (5, 12, -722)), 11),
        Ellipsoid("gallbladder", "gallbladder", (58, 62, -672), (13, 15, 22)),
        *_both("adrenal_gland", "adrenal", (40, -32, -630), (8, 12, 15)),
        Ellipsoid("kidney_right", "kidney", (64, -48, -696), (27, 27, 54), -8),
        Ellipsoid("kidney_right", "excreted", (52, -44, -696), (9, 10, 17)),
        Ellipsoid("kidney_left", "kidney", (-66, -48, -684), (27, 27, 55), 8),
        Ellipsoid("kidney_left", "excreted", (-54, -44, -684), (9, 10, 17)),
        Tube("small_bowel", "bowel", _BOWEL, 13),
        Tube("colon", "bowel", _COLON, 16),
        *_both("gluteus_maximus", "muscle", (80, -82, -905), (62, 26, 74), 10),
        *_both("gluteus_medius", "muscle", (118, -30, -830), (24, 46, 48), -10),
        *_both("hip", "marrow", (86, -26, -818), (12, 50, 58), 22),
        *_both("hip", "bone", (92, 2, -912), (26, 30, 36)),
        *_both_tubes("hip", "marrow", ((70, 30, -918), (30, 45, -950), (10, 46, -958)), 9),
        *_both("femur", "marrow", (98, 4, -918), (22, 22, 22)),
        *_both_tubes("femur", "marrow", ((98, 4, -918), (128, -4, -950)), 13),
        *_both_tubes("femur", "bone", ((128, -4, -950), (112, 4, -1180)), 14),
        Ellipsoid("urinary_bladder", "bladder", (0, 32, -912), (36, 30, 28)),
    ]


PROSTATE = Ellipsoid("prostate", "prostate", (0, 6, -958), (22, 16, 15))


@dataclass(frozen=True)
class Patient:
    """One patient's body (parts after individual jitter, axis scales from body mm to real mm) and header facts."""

    patient_id: str
    sex: str
    age: int
    weight_kg: float
    height_m: float
    scale: Point
    parts: tuple[Part, ...]


def draw_patient(patient_id: str, rng: np.random.Generator) -> Patient:
    """A patient drawn with `rng`: sex, size, and every organ moved by about 2.5 mm and resized by up to 8 %."""
    sex = "F" if rng.random() < 0.5 else "M"
    height_m = round(float(rng.normal(1.66 if sex == "F" else 1.77, 0.06)), 2)
    bmi = float(np.clip(rng.normal(26, 4), 18, 38))
    girth = float(np.clip(np.sqrt(bmi / 25), 0.9, 1.16))
    scale = (girth, girth, float(np.clip(height_m / 1.74, 0.9, 1.08)))
    parts: list[Part] = [*standard_parts(), PROSTATE] if sex == "M" else standard_parts()
    return Patient(
        patient_id=patient_id,
        sex=sex,
        age=int(rng.integers(28, 86)),
        weight_kg=round(bmi * height_m**2, 1),
        height_m=height_m,
        scale=scale,
        parts=tuple(_jitter(part, rng) for part in parts),
    )


def draw_varied_patient(patient_id: str, rng: np.random.Generator) -> Patient:
    """A patient as `draw_patient` gives them, of any build: girth and length differ by a fifth, and organs lie about
    6 mm from their usual place.
    """
    usual = draw_patient(patient_id, rng)
    girth, length = float(rng.uniform(0.85, 1.18)), float(rng.uniform(0.85, 1.12))
    parts = tuple(_jitter(part, rng, spread_mm=6.0) for part in usual.parts)
    return replace(usual, scale=(girth, girth, length), parts=parts)


def _jitter(part: Part, rng: np.random.Generator, spread_mm: float = 2.5) -> Part:
    # Bones and what they enclose keep together: the skull must not open.
    stiff = 0.35 if part.tissue in ("marrow", "bone", "cord", "brain") else 1.0
    move = np.clip(rng.normal(0, spread_mm, 3), -2 * spread_mm, 2 * spread_mm) * stiff
    size = float(rng.uniform(1 - 0.08 * stiff, 1 + 0.08 * stiff))
    if isinstance(part, Tube):
        points = tuple((x + move[0], y + move[1], z + move[2]) for x, y, z in part.points)
        return Tube(part.label, part.tissue, points, part.radius * size)
    x, y, z = part.center
    a, b, c = part.radii
    center = (x + move[0], y + move[1], z + move[2])
    return Ellipsoid(part.label, part.tissue, center, (a * size, b * size, c * size), part.tilt_deg)


@dataclass(frozen=True)
class Grid:
    """A grid whose axes are parallel to the body: the body coordinate (mm) of every voxel centre along i, j and k."""

    x: Floats
    y: Floats
    z: Floats

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        return len(self.x), len(self.y), len(self.z)

    def box(self, low: Point, high: Point) -> tuple[slice, slice, slice]:
        """The half-open box of the voxels whose centres lie between two corners (body mm)."""
        return tuple(  # type: ignore[return-value]  # a generator of three
            slice(int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b, side="right")))
            for axis, a, b in zip((self.x, self.y, self.z), low, high)
        )

    def open(self, box: tuple[slice, slice, slice]) -> tuple[Floats, Floats, Floats]:
        """The coordinates of a box as three arrays that broadcast to it."""
        return self.x[box[0]][:, None, None], self.y[box[1]][None, :, None], self.z[box[2]][None, None, :]


@dataclass(frozen=True)
class Painted:
    """What a body looks like on a grid: uint8 `labels`, ideal `suv` before the scanner, `hu` of the CT."""

    labels: NDArray[np.uint8]
    suv: Floats
    hu: Floats


def paint(patient: Patient, grid: Grid, uptake: Mapping[str, float]) -> Painted:
    """The patient's body on `grid` with the SUV of each tissue given by `uptake` (keys of `UPTAKE`)."""
    canvas = _Canvas(grid, uptake)
    canvas.outline()
    canvas.chest()
    canvas.liver()
    for part in patient.parts:
        canvas.part(part)
    return Painted(canvas.labels, canvas.suv, canvas.hu)


class _Canvas:
    """The three arrays while they are painted."""

    def __init__(self, grid: Grid, uptake: Mapping[str, float]) -> None:
        self.grid = grid
        self.uptake = uptake
        self.labels = np.zeros(grid.shape, np.uint8)
        self.suv = np.zeros(grid.shape, np.float32)
        self.hu = np.full(grid.shape, -1000, np.float32)

    def fill(self, box: tuple[slice, slice, slice], inside: NDArray[np.bool_], label: int, tissue: str) -> None:
        self.labels[box][inside] = label
        self.suv[box][inside] = self.uptake[tissue]
        self.hu[box][inside] = HU[tissue]

    def outline(self) -> None:
        """Fat with muscle inside: head, neck, trunk and two thighs."""
        x, y, z = self.grid.x[:, None], self.grid.y[None, :], self.grid.z
        for k, depth in enumerate(-z):
            skin = _outline(x, y, float(depth))
            box = (slice(None), slice(None), slice(k, k + 1))
            self.fill(box, (skin < 1)[:, :, None], 0, "fat")
            self.fill(box, (skin < 0.86)[:, :, None], 0, "muscle")

    def chest(self) -> None:
        """Lungs in five lobes, twelve pairs of ribs and their cartilages."""
        box = self.grid.box((-160, -110, -640), (160, 110, -295))
        x, y, z = self.grid.open(box)
        rho = _chest_rho(x, y, z)
        right_dome = -608 + 62 * np.clip(1 - ((x - 74) / 75) ** 2 - ((y - 5) / 92) ** 2, 0, None)
        left_dome = -608 + 42 * np.clip(1 - ((x + 74) / 75) ** 2 - ((y - 5) / 92) ** 2, 0, None)
        mediastinum = (x / 34) ** 2 + ((y - 8) / 84) ** 2 < 1
        lung = (rho < 0.82) & (z < -305) & (z > np.where(x > 0, right_dome, left_dome)) & ~mediastinum
        lower = z < -430 - 0.9 * y
        middle = ~lower & (z < -455)
        for side, on_side in (("right", x > 0), ("left", x < 0)):
            self.fill(box, lung & on_side & lower, LABELS[f"lung_lower_lobe_{side}"], "lung")
            self.fill(box, lung & on_side & ~lower, LABELS[f"lung_upper_lobe_{side}"], "lung")
        self.fill(box, lung & (x > 0) & middle, LABELS["lung_middle_lobe_right"], "lung")

        # A rib slopes down towards the front; its number follows from the height at which it leaves the spine.
        depth = -(z + 0.45 * (y + 70)) - 293
        number = np.floor(depth / 25).astype(int) + 1
        band = np.abs(depth / 25 - np.floor(depth / 25) - 0.5) < 0.24
        shell = (rho > 0.85) & (rho < 0.97) & band & (np.abs(x) > 16)
        floating = (number >= 11) & (y > -10)
        front = (y > 50) & (np.abs(x) < 75)
        for n in range(1, 13):
            ring = shell & (number == n) & ~floating
            for side, on_side in (("right", x > 0), ("left", x < 0)):
                self.fill(box, ring & on_side & ~front, LABELS[f"rib_{side}_{n}"], "bone")
            self.fill(box, ring & front & (n <= 10), LABELS["costal_cartilages"], "muscle")

    def liver(self) -> None:
        """The liver: a right lobe under the dome of the diaphragm and a left lobe over the stomach."""
        box = self.grid.box((-80, -100, -740), (160, 110, -540))
        x, y, z = self.grid.open(box)
        right = ((x - 76) / 76) ** 2 + ((y - 4) / 84) ** 2 + ((z + 632) / 88) ** 2 < 1
        left = ((x - 2) / 62) ** 2 + ((y - 46) / 34) ** 2 + ((z + 610) / 36) ** 2 < 1
        lung = self.labels[box]
        free = (_chest_rho(x, y, z) < 0.83) & ((lung < 10) | (lung > 14))
        self.fill(box, (right | left) & free, LABELS["liver"], "liver")

    def part(self, part: Part) -> None:
        box, inside = part_mask(part, self.grid)
        self.fill(box, inside, LABELS[part.label], part.tissue)


def part_mask(part: Part, grid: Grid) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
    """The box of a part on the grid and, inside it, the voxels whose centres the part holds."""
    if isinstance(part, Tube):
        points = np.array(part.points)
        reach = part.radius
        box = grid.box(tuple(points.min(0) - reach), tuple(points.max(0) + reach))
        x, y, z = grid.open(box)
        inside = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), bool)
        for a, b in pairwise(points):
            near = grid.box(tuple(np.minimum(a, b) - reach), tuple(np.maximum(a, b) + reach))
            x, y, z = grid.open(near)
            v = b - a
            along = ((x - a[0]) * v[0] + (y - a[1]) * v[1] + (z - a[2]) * v[2]) / float(v @ v)
            along = np.clip(along, 0, 1)
            distance2 = (x - a[0] - along * v[0]) ** 2 + (y - a[1] - along * v[1]) ** 2 + (z - a[2] - along * v[2]) ** 2
            local = tuple(slice(n.start - o.start, n.stop - o.start) for n, o in zip(near, box))
            inside[local] |= distance2 < reach**2
        return box, inside
    tilt = np.radians(part.tilt_deg)
    reach_xz = max(part.radii[0], part.radii[2])
    reach_3 = np.array([reach_xz if tilt else part.radii[0], part.radii[1], reach_xz if tilt else part.radii[2]])
    center = np.array(part.center)
    box = grid.box(tuple(center - reach_3), tuple(center + reach_3))
    x, y, z = grid.open(box)
    dx, dy, dz = x - center[0], y - center[1], z - center[2]
    u = dx * np.cos(tilt) - dz * np.sin(tilt)
    w = dx * np.sin(tilt) + dz * np.cos(tilt)
    return box, (u / part.radii[0]) ** 2 + (dy / part.radii[1]) ** 2 + (w / part.radii[2]) ** 2 < 1


def _outline(x: Floats, y: Floats, depth: float) -> Floats:
    """Below 1 inside the skin of the slice that lies `depth` mm under the vertex; about 0.86 where fat ends."""
    shapes = []
    if depth < 260:
        head = np.sqrt(max(0.0, 1 - ((depth - 125) / 128) ** 2)) + 1e-3
        shapes.append(np.hypot(x / (80 * head), (y - 10) / (102 * head)))
    if 170 < depth < 330:
        shapes.append(np.hypot(x / 62, (y + 4) / 64))
    if 278 <= depth < 990:
        a = np.interp(
            depth, [278, 300, 330, 420, 600, 700, 800, 880, 960, 990], [70, 175, 198, 182, 168, 160, 168, 182, 186, 180]
        )
        b = np.interp(depth, [278, 300, 420, 600, 700, 800, 880, 990], [62, 95, 118, 122, 114, 112, 118, 112])
        shapes.append((np.abs(x / a) ** 2.4 + np.abs(y / b) ** 2.4) ** (1 / 2.4))
    if depth >= 940:
        a = np.interp(depth, [940, 1000, 1200], [88, 86, 66])
        shapes += [np.hypot((x - 95) / a, (y - 2) / (1.1 * a)), np.hypot((x + 95) / a, (y - 2) / (1.1 * a))]
    if not shapes:
        return np.full(np.broadcast_shapes(x.shape, y.shape), 9, np.float32)
    return np.minimum.reduce(shapes)


def _chest_rho(x: Floats, y: Floats, z: Floats) -> Floats:
    """Distance from the middle of the chest in units of the rib cage's outside: 1 on the ribs' outer face."""
    depth = -z
    a = np.interp(depth, [295, 330, 380, 470, 600, 700], [62, 92, 122, 146, 150, 140])
    b = np.interp(depth, [295, 330, 380, 470, 600, 700], [60, 76, 90, 100, 102, 96])
    return np.hypot(x / a, (y + 2) / b)
