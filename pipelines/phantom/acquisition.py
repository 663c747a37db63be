"""How each exam is scanned and stored: grid, orientation on disk, DICOM or NIfTI, which CT."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.phantom.body import Grid, Patient

Spacing = tuple[float, float, float]
TOP_MM, BOTTOM_MM = 15.0, -1085.0
"""Body height (mm, before the patient's scale) of the first and last slice: over the vertex, and mid-thigh."""


@dataclass(frozen=True)
class Acquisition:
    """One way of scanning and storing an exam.

    `ct` is "same" (on the PET's grid), "own" (another grid), "res" (autoPET's CTres.nii.gz) or None. `orientation` is
    the order of the stored NIfTI axes. `oblique_deg` tilts the whole frame of reference. `top_mm` and `bottom_mm`
    are where the first and the last slice lie (body mm).
    """

    source: Literal["nifti", "dicom"] = "nifti"
    spacing_mm: Spacing = (4.0, 4.0, 4.0)
    orientation: str = "RAS"
    ct: Literal["same", "own", "res"] | None = "same"
    ct_spacing_mm: Spacing = (3.0, 3.0, 4.0)
    stored: Literal["float32", "int16"] = "float32"
    oblique_deg: float = 0.0
    top_mm: float = TOP_MM
    bottom_mm: float = BOTTOM_MM
    nested: bool = False
    uncorrected_series: bool = False
    decay_correction: Literal["START", "ADMIN"] = "START"
    with_seg: bool = False
    tracer: str = "FDG"


DEMO: tuple[Acquisition, ...] = (
    Acquisition(orientation="LPS", ct="own"),
    Acquisition(source="dicom", spacing_mm=(4.0728, 4.0728, 5.0)),
    Acquisition(orientation="RAS", spacing_mm=(3.6, 3.6, 3.27), ct="own", ct_spacing_mm=(5.0, 5.0, 5.0)),
    Acquisition(orientation="LAS", spacing_mm=(4.0, 4.0, 5.0), ct="res", with_seg=True),
    Acquisition(orientation="PSR", spacing_mm=(4.0, 4.0, 4.0), tracer="DOTATATE"),
    Acquisition(orientation="RAI", spacing_mm=(5.0, 5.0, 3.0), ct=None, top_mm=-130),
    Acquisition(orientation="LPS", spacing_mm=(4.2, 4.2, 3.0), stored="int16", ct="own", ct_spacing_mm=(3.5, 3.5, 3.0)),
    Acquisition(orientation="ASL", spacing_mm=(4.0, 4.0, 4.5), oblique_deg=3.0),
    Acquisition(
        source="dicom", spacing_mm=(4.0, 4.0, 4.0), nested=True, uncorrected_series=True, decay_correction="ADMIN"
    ),
    Acquisition(orientation="RPS", spacing_mm=(2.8, 2.8, 3.0), ct="same"),
    Acquisition(orientation="LPI", spacing_mm=(4.5, 4.5, 4.0), ct="own", tracer="DCFPyL"),
    Acquisition(orientation="SAL", spacing_mm=(4.0, 4.0, 3.5), ct="same"),
)
"""The demo's exams take these in turn; the second round has other patients and other tracers."""

SMALL: tuple[Acquisition, ...] = (
    Acquisition(orientation="LPS", spacing_mm=(5.0, 5.0, 5.0)),
    Acquisition(source="dicom", spacing_mm=(5.5, 5.5, 6.0)),
    Acquisition(orientation="RAS", spacing_mm=(5.0, 5.0, 4.0), ct="own", ct_spacing_mm=(7.0, 7.0, 7.0)),
    Acquisition(orientation="PSR", spacing_mm=(5.0, 5.0, 5.0), ct=None),
    Acquisition(orientation="RAI", spacing_mm=(4.5, 4.5, 6.0), ct="res"),
    Acquisition(orientation="LAS", spacing_mm=(5.0, 5.0, 5.0), stored="int16"),
)
"""The small cohort's exams: coarse, for tests."""


VARIED: tuple[Acquisition, ...] = (
    Acquisition(orientation="LPS", spacing_mm=(5.0, 5.0, 5.0)),
    Acquisition(orientation="RAS", spacing_mm=(5.0, 5.0, 4.5)),
    Acquisition(orientation="LAS", spacing_mm=(5.5, 5.5, 5.0), tracer="DOTATATE"),
)
"""Coarse exams of bodies that differ widely (`draw_varied_patient`), each with a field of view of its own."""


def draw_acquisition(index: int, rng: np.random.Generator) -> Acquisition:
    """How a varied exam is scanned: from the vertex, the skull base or the neck, down to the thigh or the pelvis."""
    top, bottom = TOP_MM, BOTTOM_MM
    if (kind := rng.random()) > 0.4:
        top = float(rng.uniform(-175, -120) if kind < 0.75 else rng.uniform(-260, -215))
    if rng.random() < 0.3:
        bottom = float(rng.uniform(-1000, -930))
    return replace(VARIED[index % len(VARIED)], top_mm=top, bottom_mm=bottom)


def acquisition_of(size: str, index: int) -> Acquisition:
    """How exam `index` (0-based) of a cohort of this size is scanned."""
    table = {"demo": DEMO, "small": SMALL}[size]
    chosen = table[index % len(table)]
    turn = index // len(table)
    if turn % 2 and chosen.source == "nifti":
        # The second round changes what is cheap to change, so that patients and grids mix.
        fine = min(chosen.spacing_mm) < 2.9
        spacing = (4.0, 4.0, 3.0) if fine else chosen.spacing_mm
        chosen = replace(chosen, spacing_mm=spacing, ct="same" if chosen.ct is None else chosen.ct, tracer="FDG")
        if index % len(table) == 2:
            chosen = replace(chosen, tracer="DOTATATE")
    return chosen


@dataclass(frozen=True)
class Extent:
    """What of the body a scan covers, in body mm before the patient's scale: from the first slice down to the last one,
    and half the width and half the depth of the field of view.
    """

    top_mm: float = TOP_MM
    bottom_mm: float = BOTTOM_MM
    half_mm: tuple[float, float] = (212.0, 138.0)


@dataclass(frozen=True)
class Frame:
    """A grid in the body and in the world: `grid` gives body mm, `affine` takes (i, j, k) to RAS mm.

    `shift_mm` is where the body's origin lies in the world before the frame is tilted.
    """

    grid: Grid
    affine: NDArray[np.float64]
    spacing_mm: Spacing
    shift_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k (RAS+ order)."""
        return self.grid.shape

    def ras_mm(self, ijk: tuple[int, int, int]) -> tuple[float, float, float]:
        """The world position of a voxel's centre."""
        x, y, z = (self.affine @ [*ijk, 1.0])[:3]
        return float(x), float(y), float(z)


def frame_for(
    patient: Patient,
    spacing_mm: Spacing,
    extent: Extent,
    shift_mm: tuple[float, float, float],
    oblique_deg: float,
    start_mm: float = 0.0,
) -> Frame:
    """The RAS+ grid over a patient's body. `shift_mm` is where the body's origin lies in the world, `start_mm` moves
    the grid.
    """
    half_x, half_y = extent.half_mm[0] * patient.scale[0], extent.half_mm[1] * patient.scale[1]
    top, bottom = extent.top_mm * patient.scale[2], extent.bottom_mm * patient.scale[2]
    low = (-half_x + start_mm, -half_y + start_mm, bottom + start_mm)
    n = [round(length / s) for length, s in zip((2 * half_x, 2 * half_y, top - bottom), spacing_mm)]
    real = [a + s * np.arange(m) for a, s, m in zip(low, spacing_mm, n)]
    body = [(axis / s).astype(np.float32) for axis, s in zip(real, patient.scale)]
    affine = np.diag(np.array([*spacing_mm, 1.0], np.float64))
    affine[:3, 3] = [a + s for a, s in zip(low, shift_mm)]
    if oblique_deg:
        turn = np.radians(oblique_deg)
        rotation = np.eye(4)
        rotation[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        affine = rotation @ affine
    return Frame(Grid(body[0], body[1], body[2]), np.round(affine, 6).astype(np.float64), spacing_mm, shift_mm)


def beside(frame: Frame, patient: Patient, how: Acquisition) -> Frame:
    """The grid of a CT of its own over the same body: another spacing, and moved by a little."""
    return frame_for(
        patient, how.ct_spacing_mm, Extent(how.top_mm, how.bottom_mm), frame.shift_mm, how.oblique_deg, start_mm=1.3
    )
