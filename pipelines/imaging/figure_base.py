"""Figures as PNG bytes: colours, an empty figure, and its encoding.

Everything is drawn through matplotlib's objects, never through pyplot, so that threads and servers may draw at once.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    # Most runs draw nothing, and matplotlib is a tenth of what a run's process imports.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1a1a1a"
OUTLINE = "#e6194b"
OUTLINE_ON_FUSION = "#00d5e8"
ON_DARK = "#ffd84d"
SECOND = "#0b6fa4"
MUTED = "#8a8f98"
_MAX_BYTES = 190_000
_GREY_CHROMA = 8
_GREY_LEVELS = 128


def new_figure(
    width_inch: float, height_inch: float, dpi: int = 110, layout: Literal["constrained"] | None = None
) -> "Figure":
    """An empty figure; `png_bytes` makes a picture of it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inch, height_inch), dpi=dpi, layout=layout)


def plain_axes(ax: "Axes", x_label: str, y_label: str) -> None:
    """Labels a plot's axes in small type and draws no frame above and beside it."""
    ax.set_xlabel(x_label, fontsize=8)
    ax.set_ylabel(y_label, fontsize=8)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def png_bytes(figure: "Figure") -> bytes:
    """The figure as a PNG with a palette, a third of the size at the same look; a noisy one gets fewer pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    dpi = figure.get_dpi()
    packed = io.BytesIO()
    for scale in (1.0, 0.85, 0.7, 0.55):
        figure.set_dpi(scale * dpi)
        canvas.draw()
        packed = io.BytesIO()
        _with_palette(np.asarray(canvas.buffer_rgba())[:, :, :3]).save(packed, "PNG", compress_level=7)
        if packed.tell() < _MAX_BYTES:
            break
    return packed.getvalue()


def _with_palette(pixels: NDArray[np.uint8]) -> Image.Image:
    """An RGB picture in 128 greys, the colours of outlines and text, and the commonest of its other colours.

    Palettes made for the whole picture drop the few pixels of a thin outline, or tint the greys.
    """
    red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    brightest, darkest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    coloured = brightest - darkest > _GREY_CHROMA
    levels = np.linspace(0, 255, _GREY_LEVELS).round().astype(np.uint8)
    nearest_level = np.round(np.arange(256) * (_GREY_LEVELS - 1) / 255).astype(np.uint8)
    indices = nearest_level[green]
    colours = np.array([rgb(c) for c in (OUTLINE, OUTLINE_ON_FUSION, ON_DARK, SECOND)], np.uint8)
    if coloured.any():
        rest = Image.fromarray(pixels[coloured][None])
        reduced = rest.quantize(256 - _GREY_LEVELS - len(colours), method=Image.Quantize.MEDIANCUT)
        colours = np.vstack([colours, np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)])[: 256 - _GREY_LEVELS]
        indices[coloured] = _GREY_LEVELS + cKDTree(colours).query(pixels[coloured])[1].astype(np.uint8)
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette(np.vstack([np.repeat(levels[:, None], 3, axis=1), colours]).ravel().tolist())
    return picture


def rgb(hex_colour: str) -> tuple[int, ...]:
    """Red, green and blue (0..255) of a colour like "#e6194b"."""
    return tuple(int(hex_colour[n : n + 2], 16) for n in (1, 3, 5))


def require_columns(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Raises ValueError naming the columns that a frame lacks."""
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise ValueError(
            f"expected the columns {', '.join(columns)}, got {', '.join(frame.columns)}: {missing} are missing"
        )
