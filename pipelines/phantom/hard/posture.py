"""How a patient lies: trunk swayed and bent, trunk and head turned, arms up or down; and what the scan covers."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.phantom.acquisition import Extent
from pipelines.phantom.body import HU, Floats, Grid, Painted, Point, Tube, part_mask

NECK_MM = -235.0
"""Height of the neck (body mm): the head turns above it."""


_BREATHING_Z = (-900.0, -680.0, -600.0, -380.0)
"""Heights (body mm) between which breathing moves the body: pelvis, below and above the diaphragm, upper chest."""


@dataclass(frozen=True)
class Posture:
    """How the body's axis runs through the scanner.

    Args:
        sway_mm: Amplitude of the axis to the right and to the front.
        phase: Where along the body the sway starts, radians.
        trunk_deg: Turn of the trunk about the long axis, positive from right to front.
        head_deg: Turn of the head beside that of the trunk.
        nod_mm: How far the vertex lies in front of where it would be.
        arms: Above the head, beside the trunk, or out of the field of view.
        breath_mm: How far the diaphragm lies below where it is drawn: the lungs are stretched, the abdomen is
            pressed together.
    """

    sway_mm: tuple[float, float] = (0.0, 0.0)
    phase: float = 0.0
    trunk_deg: float = 0.0
    head_deg: float = 0.0
    nod_mm: float = 0.0
    arms: Literal["up", "down", "out"] = "out"
    breath_mm: float = 0.0

    def breathed(self, z: NDArray[np.floating]) -> NDArray[np.floating]:
        """Where heights of the straight body (body mm) lie with this breath."""
        return z - self.breath_mm * np.interp(z, _BREATHING_Z, (0.0, 1.0, 1.0, 0.0))

    def unbreathed(self, z: NDArray[np.floating]) -> NDArray[np.floating]:
        """The inverse of `breathed`, which rises everywhere while the diaphragm moves by less than 90 mm."""
        heights = np.linspace(_BREATHING_Z[0], _BREATHING_Z[-1], 1001)
        inside = np.interp(z, self.breathed(heights), heights)
        return np.asarray(np.where((z > heights[0]) & (z < heights[-1]), inside, z))

    def axis(self, z: Floats) -> tuple[Floats, Floats, Floats]:
        """At heights z (body mm): where the axis lies in x and y (mm), and the turn about it (radians)."""
        wave = np.sin(z / 1100.0 * 2 * np.pi + self.phase)
        bow = np.sin(z / 1100.0 * np.pi + 2 * self.phase)
        head = np.clip((z - NECK_MM) / 60.0, 0, 1)
        turn = np.radians(self.trunk_deg + self.head_deg * head)
        return self.sway_mm[0] * wave, self.sway_mm[1] * bow + self.nod_mm * head, turn

    def apply(self, point: Point) -> Point:
        """Where a point of the straight body lies (body mm)."""
        z = float(self.breathed(np.array(point[2])))
        sx, sy, turn = self.axis(np.array(z))
        x, y = point[0], point[1]
        return (
            float(np.cos(turn) * x - np.sin(turn) * y + sx),
            float(np.sin(turn) * x + np.cos(turn) * y + sy),
            z,
        )

    def straight(self, point: Point) -> Point:
        """Where a point of the posed body lies in the straight one (body mm), the inverse of `apply`."""
        sx, sy, turn = self.axis(np.array(point[2]))
        x, y = point[0] - sx, point[1] - sy
        return (
            float(np.cos(turn) * x + np.sin(turn) * y),
            float(np.cos(turn) * y - np.sin(turn) * x),
            float(self.unbreathed(np.array(point[2]))),
        )

    def straight_x(self, point: Point) -> float:
        """How far to the right of its own midplane a point of the posed body lies (body mm)."""
        sx, sy, turn = self.axis(np.array(point[2]))
        return float(np.cos(turn) * (point[0] - sx) + np.sin(turn) * (point[1] - sy))


def draw_posture(rng: np.random.Generator) -> Posture:
    """A posture as patients take it: arms up in two of three exams."""
    return Posture(
        sway_mm=(float(rng.normal(0, 7)), float(rng.normal(0, 5))),
        phase=float(rng.uniform(0, 2 * np.pi)),
        trunk_deg=float(rng.normal(0, 3)),
        head_deg=float(np.clip(rng.normal(0, 12), -30, 30)),
        nod_mm=float(rng.normal(0, 8)),
        arms=("up", "up", "down", "out")[int(rng.integers(4))],
    )


def at_another_visit(posture: Posture, rng: np.random.Generator) -> Posture:
    """The posture with the breath of another visit: PET is acquired in free breathing, and each patient's mean position
    of the diaphragm differs by about a centimetre from scan to scan.
    """
    return replace(posture, breath_mm=float(np.clip(rng.normal(0, 9), -22, 22)))


def draw_extent(posture: Posture, rng: np.random.Generator) -> Extent:
    """What a scan covers: mostly vertex or skull base to mid-thigh; some end above the bladder or show no head."""
    kind = rng.random()
    extent = Extent(half_mm=(285.0 if posture.arms == "down" else 225.0, 146.0))
    if kind < 0.45:
        return extent
    if kind < 0.75:
        return replace(extent, top_mm=float(rng.uniform(-175, -120)))
    if kind < 0.85:
        return replace(extent, top_mm=float(rng.uniform(-310, -255)))
    bottom_mm = float(rng.uniform(-850, -760))
    return replace(extent, bottom_mm=bottom_mm, top_mm=extent.top_mm if kind < 0.93 else -150.0)


_ARMS: dict[str, tuple[tuple[Point, ...], float]] = {
    "up": (((168, -6, -318), (158, 6, -120), (120, 20, 40)), 38.0),
    "down": (((182, -12, -345), (212, -14, -620), (222, 12, -880)), 36.0),
}
"""The axis of the right arm and its radius (body mm)."""


def add_arms(painted: Painted, grid: Grid, posture: Posture, uptake: dict[str, float]) -> None:
    """Paints arms into the air beside the body, in place."""
    if posture.arms == "out":
        return
    points, radius = _ARMS[posture.arms]
    for side in (1, -1):
        axis = tuple((side * x, y, z) for x, y, z in points)
        for tissue, share in (("fat", 1.0), ("muscle", 0.82), ("bone", 0.28)):
            box, inside = part_mask(Tube("arm", tissue, axis, radius * share), grid)
            if tissue == "fat":
                # What the arm has to itself: the trunk stays on top.
                free = (painted.hu[box] < -900) & (painted.labels[box] == 0)
                own, own_box = inside & free, box
            else:
                within = np.zeros(grid.shape, bool)[own_box]
                inner = tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, own_box))
                within[inner] = inside
                box, inside = own_box, within & own
            painted.suv[box][inside if tissue != "fat" else own] = uptake[tissue]
            painted.hu[box][inside if tissue != "fat" else own] = HU[tissue]


def posed(painted: Painted, grid: Grid, posture: Posture) -> Painted:
    """The painted body in its posture: each slice shifted and turned, nearest voxel."""
    sx, sy, turn = posture.axis(grid.z)
    source_z = posture.unbreathed(grid.z)
    x, y = grid.x[:, None], grid.y[None, :]
    step = (float(grid.x[1] - grid.x[0]), float(grid.y[1] - grid.y[0]))
    labels, suv, hu = np.zeros_like(painted.labels), np.full_like(painted.suv, 0), np.full_like(painted.hu, -1000)
    for k in range(grid.shape[2]):
        cos, sin = np.cos(turn[k]), np.sin(turn[k])
        dx, dy = x - sx[k], y - sy[k]
        i, i_in = _index(cos * dx + sin * dy, float(grid.x[0]), step[0], grid.shape[0])
        j, j_in = _index(cos * dy - sin * dx, float(grid.y[0]), step[1], grid.shape[1])
        inside = i_in & j_in
        from_k = int(np.abs(grid.z - source_z[k]).argmin())
        for target, source, empty in ((labels, painted.labels, 0), (suv, painted.suv, 0), (hu, painted.hu, -1000)):
            target[:, :, k] = np.where(inside, source[:, :, from_k][i, j], empty)
    return Painted(labels, suv, hu)


def _index(at: Floats, first: float, step: float, n: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    index = np.round((at - first) / step).astype(np.intp)
    return np.clip(index, 0, n - 1), (index >= 0) & (index < n)
