"""Organs that hard exams have beside those of the even body, what each tracer does in them, and uneven uptake."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.organ_labels import LABELS
from pipelines.phantom.body import UPTAKE, Ellipsoid, Floats, Grid, Painted, Patient, Point, paint, part_mask
from pipelines.phantom.hard.posture import Posture, add_arms, posed
from pipelines.phantom.hard.texture import smooth_field, uneven

_GLANDS: tuple[tuple[str, Point, Point], ...] = (
    ("parotid", (52, 0, -184), (9, 15, 21)),
    ("submandibular", (29, 36, -224), (9, 12, 12)),
    ("sublingual", (9, 50, -214), (6, 10, 6)),
    ("lacrimal", (44, 74, -100), (5, 6, 8)),
    ("tonsil", (15, 22, -202), (6, 8, 11)),
    ("vocal cord", (6, 32, -262), (4, 9, 4)),
)
"""The right one of each pair: name, centre and radii (body mm)."""

_GLAND_UPTAKE: dict[str, dict[str, float]] = {
    "FDG": {"parotid": 1.6, "submandibular": 2.0, "sublingual": 2.4, "lacrimal": 1.2, "tonsil": 4.5, "vocal cord": 2.6},
    "DCFPyL": {"parotid": 15, "submandibular": 16, "sublingual": 8, "lacrimal": 8, "tonsil": 2.5, "vocal cord": 1.5},
    "DOTATATE": {"parotid": 2.2, "submandibular": 2.4, "sublingual": 2, "lacrimal": 1.5, "tonsil": 2, "vocal cord": 1},
}  # fmt: skip
"""Mean SUVbw of each gland by tracer. Source: order of magnitude of the literature on normal uptake (FDG: Nakamoto,
Radiology 2005; PSMA: Demirci, JNM 2016; DOTATATE: Shastry, Clin Nucl Med 2010).
"""

_ORGAN_RATIO: dict[str, dict[str, float]] = {
    "FDG": {},
    "DCFPyL": {"duodenum": 3.5, "small_bowel": 2.0, "colon": 0.7, "liver": 1.1, "spleen": 1.3},
    "DOTATATE": {"duodenum": 2.0, "small_bowel": 1.6, "colon": 1.2, "stomach": 1.4},
}
"""Uptake of an organ over that of its tissue in the even body."""

_VARIATION: dict[str, float] = {
    "liver": 0.10, "spleen": 0.12, "brain": 0.22, "heart": 0.20, "kidney_right": 0.25, "kidney_left": 0.25,
    "small_bowel": 0.6, "colon": 0.65, "duodenum": 0.5, "stomach": 0.35, "urinary_bladder": 0.05, "aorta": 0.1,
    "esophagus": 0.3, "pancreas": 0.2, "gluteus_maximus_left": 0.25, "gluteus_maximus_right": 0.25,
}  # fmt: skip
_OTHER_VARIATION = 0.22
"""Deviation of the logarithm of uptake within an organ: liver and spleen are even, bowel is not."""


@dataclass(frozen=True)
class HardBody:
    """A posed body on a grid: labels, ideal SUV before lesions and scanner, HU, and what it was painted with."""

    grid: Grid
    painted: Painted
    posture: Posture
    uptake: Mapping[str, float]
    tracer: str


def exam_uptake(tracer: str, rng: np.random.Generator) -> dict[str, float]:
    """The tracer's uptake with an exam's own variation: 15 %, and manyfold in urine, myocardium and brain."""
    uptake = {tissue: suv * float(np.exp(rng.normal(0, 0.15))) for tissue, suv in UPTAKE[tracer].items()}
    uptake["bladder"] *= float(rng.uniform(0.3, 2.2))
    uptake["excreted"] *= float(rng.uniform(0.3, 1.8))
    if tracer == "FDG":
        uptake["myocardium"] *= float(rng.choice([0.4, 0.8, 2.2]))
        uptake["bowel"] *= float(rng.choice([0.8, 1.0, 2.0]))
        uptake["marrow"] *= float(rng.choice([0.8, 1.0, 1.6]))
    return uptake


def draw_body(patient: Patient, grid: Grid, posture: Posture, tracer: str, rng: np.random.Generator) -> HardBody:
    """The patient's body in its posture on a grid, its organs uneven."""
    uptake = exam_uptake(tracer, rng)
    painted = paint(patient, grid, uptake)
    for name, ratio in _ORGAN_RATIO[tracer].items():
        painted.suv[painted.labels == LABELS[name]] *= np.float32(ratio)
    _add_glands(painted, grid, tracer, rng)
    add_arms(painted, grid, posture, uptake)
    painted = posed(painted, grid, posture)
    steps = [axis[1] - axis[0] for axis in (grid.x, grid.y, grid.z)]
    spacing = (float(steps[0]), float(steps[1]), float(steps[2]))
    variation = _variation_of(painted.labels)
    suv = painted.suv * uneven(smooth_field(grid.shape, spacing, 13.0, rng), variation)
    return HardBody(grid, Painted(painted.labels, suv, painted.hu), posture, uptake, tracer)


def _variation_of(labels: NDArray[np.uint8]) -> Floats:
    table = np.full(256, _OTHER_VARIATION, np.float32)
    for name, variation in _VARIATION.items():
        table[LABELS[name]] = variation
    return table[labels]


def _add_glands(painted: Painted, grid: Grid, tracer: str, rng: np.random.Generator) -> None:
    for name, (x, y, z), radii in _GLANDS:
        for side in (1, -1):
            suv = _GLAND_UPTAKE[tracer][name] * float(np.exp(rng.normal(0, 0.25)))
            move = rng.normal(0, 1.5, 3)
            center = (side * (x + float(move[0])), y + float(move[1]), z + float(move[2]))
            box, inside = part_mask(Ellipsoid(name, "muscle", center, radii), grid)
            # Glands lie in the soft tissue of head and neck, not outside and not in bone.
            inside &= (painted.hu[box] > -200) & (painted.hu[box] < 150)
            painted.suv[box][inside] = suv
    if tracer == "DOTATATE":
        box, inside = part_mask(Ellipsoid("pituitary", "muscle", (0, 18, -128), (5, 5, 5)), grid)
        painted.suv[box][inside] = 5.0 * float(np.exp(rng.normal(0, 0.3)))
