"""Three slices through a lesion as PNG, for models that see pictures: sagittal, coronal and axial, the lesion outlined.

The conventions are those of `lesion_figures`: PET in inverted grey from SUV 0 to 10, CT in a soft tissue window, the
patient's left on the right, the front of a sagittal view on its left, the head up, true proportions.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from pipelines.imaging.figure_base import OUTLINE, rgb
from pipelines.imaging.lesion_figures import SOFT_TISSUE_HU, SUV_WINDOW
from pipelines.imaging.masks import place_mask
from pipelines.imaging.volume import Volume

PLANES = ("sagittal", "coronal", "axial")
_PIXEL_MM = 1.5
_MAX_PIXELS = 640
"""Longest side of one picture: whole bodies are taller than what models take."""
_LETTERS = {"sagittal": "AP", "coronal": "RL", "axial": "RL"}


def lesion_slices(suv: Volume, mask: Volume, ct: Volume | None = None) -> dict[str, bytes]:
    """PNG of each plane through the lesion's hottest voxel: the PET and, where there is one, the CT beside it.

    `suv` (RAS+), `mask` a box of its grid, `ct` in HU on the same grid. Raises ExamError where the mask is of another
    grid and ValueError where it is empty.
    """
    inside = place_mask(mask, suv)
    if not inside.any():
        raise ValueError("expected a mask with voxels, got an empty one: contour the lesion again")
    voxels = np.rint(suv.to_ijk(mask.affine[:3, 3])).astype(int) + np.argwhere(np.asarray(mask.array) > 0)
    peak = voxels[int(suv.array[tuple(voxels.T)].argmax())]
    pictures = {}
    for plane, axis in zip(PLANES, range(3), strict=True):
        at = int(peak[axis])
        spacing = tuple(s for a, s in enumerate(suv.spacing_mm) if a != axis)
        outline = _as_seen(np.take(inside, at, axis), plane)
        panels = [
            _panel(_as_seen(np.take(suv.array, at, axis), plane), SUV_WINDOW, outline, spacing, plane, inverted=True)
        ]
        if ct is not None:
            panels.append(_panel(_as_seen(np.take(ct.array, at, axis), plane), SOFT_TISSUE_HU, outline, spacing, plane))
        pictures[plane] = _png(panels)
    return pictures


def _as_seen(plane: NDArray[Any], name: str) -> NDArray[Any]:
    """A slice (two axes of i, j, k in order) as rows from the top and columns from the left of a picture."""
    # i grows to the patient's right, which is on the left of a picture; j to the front, k to the head, both up.
    return plane.T[::-1, ::-1]


def _panel(
    plane: NDArray[Any],
    window: tuple[float, float],
    outline: NDArray[Any],
    spacing_mm: tuple[float, ...],
    name: str,
    *,
    inverted: bool = False,
) -> Image.Image:
    low, high = window
    share = np.clip((np.asarray(plane, np.float32) - low) / (high - low), 0, 1)
    grey = ((1 - share if inverted else share) * 255).astype(np.uint8)
    # Columns lie along the first of the two axes, rows along the second.
    size = [max(1, round(n * s / _PIXEL_MM)) for n, s in zip(plane.shape[::-1], spacing_mm, strict=True)]
    scale = min(1.0, _MAX_PIXELS / max(size))
    width, height = (max(1, round(n * scale)) for n in size)
    picture = Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR).convert("RGB")
    shape = Image.fromarray(outline.astype(np.uint8) * 255)
    lesion = np.asarray(shape.resize((width, height), Image.Resampling.NEAREST)) > 0
    edge = ndimage.binary_dilation(lesion) & ~lesion
    pixels = np.array(picture)
    pixels[edge] = rgb(OUTLINE)
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for letter, x in zip(_LETTERS[name], (4, width - 10), strict=True):
        draw.text((x, height // 2), letter, fill=(0, 90, 200) if inverted else (255, 216, 77))
    return picture


def _png(panels: list[Image.Image]) -> bytes:
    """Panels side by side."""
    whole = Image.new("RGB", (sum(p.width for p in panels) + 4 * (len(panels) - 1), panels[0].height), "white")
    at = 0
    for panel in panels:
        whole.paste(panel, (at, 0))
        at += panel.width + 4
    sink = io.BytesIO()
    whole.save(sink, "PNG")
    return sink.getvalue()
