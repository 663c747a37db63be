"""Figures as PNG bytes, in the conventions of nuclear medicine: PET in inverted grey from SUV 0 to 10, the
patient's left
on the right of a picture, the front of a sagittal view on its left, true proportions, a scale bar.

Everything is drawn through matplotlib's objects, never through pyplot, so that threads and servers may draw at once.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from pipelines.imaging.volume import Volume, resample_to

if TYPE_CHECKING:
    # Most runs draw nothing, and matplotlib is a tenth of what a run's process imports.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patheffects import AbstractPathEffect

SUV_WINDOW = (0.0, 10.0)
SOFT_TISSUE_HU = (-160.0, 240.0)
LUNG_HU = (-1350.0, 150.0)

INK = "#1a1a1a"
OUTLINE = "#e6194b"
_SUV_WORDS = f"SUV {SUV_WINDOW[0]:.0f} to {SUV_WINDOW[1]:.0f}"
OUTLINE_ON_FUSION = "#00d5e8"
ON_DARK = "#ffd84d"
SECOND = "#0b6fa4"
MUTED = "#8a8f98"
_MIP_STEP_MM = 2.5
_ZOOM_MM = 120.0
_LUNG_LIMIT_HU = -500.0
_MAX_BYTES = 190_000
_AIR_SUV = 0.3
_GREY_CHROMA = 8
_GREY_LEVELS = 128
_MARGIN_MM = 16.0

Extent = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Mip:
    """Maximum intensity projections of one exam, ready to be drawn: rows from the head down, columns as seen.

    `coronal` looks from the front (patient's left on the right), `sagittal` from the patient's left (front on the
    left). Extents are (left, right, bottom, top) in mm of the volume's own axes, counted from its first voxel.
    """

    coronal: NDArray[np.float32]
    sagittal: NDArray[np.float32]
    coronal_extent_mm: Extent
    sagittal_extent_mm: Extent


def mip_of(suv: Volume) -> Mip:
    """The projections of a SUV volume (RAS+), without the air beside the body, thinned to about 2.5 mm by maxima."""
    spacing = suv.spacing_mm
    array = np.asarray(suv.array, np.float32)
    planes = []
    for axis, across in ((1, 0), (0, 1)):
        shadow = array.max(axis)
        first, last = _body_range(shadow, spacing[across])
        thin = _thin(shadow[first:last], (spacing[across], spacing[2]))
        planes.append(
            (thin.T[::-1, ::-1], (last * spacing[across], first * spacing[across], 0.0, suv.shape[2] * spacing[2]))
        )
    return Mip(planes[0][0], planes[1][0], planes[0][1], planes[1][1])


def _body_range(shadow: NDArray[np.float32], spacing_mm: float) -> tuple[int, int]:
    """First and one past the last column of a projection (columns, slices) that hold the body, and a margin of air."""
    columns = np.flatnonzero(shadow.max(1) > _AIR_SUV)
    if len(columns) == 0:
        return 0, shadow.shape[0]
    margin = round(_MARGIN_MM / spacing_mm)
    return max(0, int(columns[0]) - margin), min(shadow.shape[0], int(columns[-1]) + 1 + margin)


def _thin(plane: NDArray[np.float32], spacing_mm: tuple[float, float]) -> NDArray[np.float32]:
    """Maxima over blocks, so that a small hot focus is never lost to thinning."""
    steps = [max(1, round(_MIP_STEP_MM / s)) for s in spacing_mm]
    pad = [(0, -n % step) for n, step in zip(plane.shape, steps)]
    padded = np.pad(plane, pad, mode="edge")
    a, b = (n // step for n, step in zip(padded.shape, steps))
    blocks: NDArray[np.float32] = padded.reshape(a, steps[0], b, steps[1]).max((1, 3))
    return blocks


def mip_figure(suv: Volume, masks: Sequence[Volume] = (), title: str = "") -> bytes:
    """PNG of the coronal and the sagittal MIP, lesions outlined and numbered in the order given.

    `suv` and `masks` are in RAS+ order; a mask is a box of the same grid with its own affine.
    """
    mip = mip_of(suv)
    widths = [abs(e[0] - e[1]) for e in (mip.coronal_extent_mm, mip.sagittal_extent_mm)]
    inch_per_mm = min(6.3 / mip.coronal_extent_mm[3], 8.5 / sum(widths))
    figure = new_figure(sum(widths) * inch_per_mm + 1.2, mip.coronal_extent_mm[3] * inch_per_mm + 0.55)
    grid = figure.add_gridspec(
        1, 3, width_ratios=[*widths, 0.1 / inch_per_mm], wspace=0.06, left=0.03, right=1 - 0.6 / figure.get_figwidth(),
        bottom=0.03, top=1 - 0.42 / figure.get_figheight(),
    )  # fmt: skip
    coronal, sagittal, bar = (figure.add_subplot(grid[0, n]) for n in range(3))
    shown = _show(coronal, mip.coronal, mip.coronal_extent_mm)
    _show(sagittal, mip.sagittal, mip.sagittal_extent_mm)
    for number, mask in enumerate(masks, 1):
        label = str(number) if len(masks) > 1 else ""
        _outline_projection(coronal, suv, mask, axis=1, label=label)
        _outline_projection(sagittal, suv, mask, axis=0, label=label)
    _letters(coronal, "R", "L", "H", "F")
    _letters(sagittal, "A", "P", "H", "F")
    _scale_bar(coronal, 100.0)
    colorbar = figure.colorbar(shown, cax=bar, ticks=[0, 5, 10])
    colorbar.set_label("SUV", fontsize=9)
    colorbar.ax.tick_params(labelsize=8)
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    return png_bytes(figure)


def _show(ax: "Axes", image: NDArray[Any], extent: Extent, **options: Any) -> Any:
    """An inverted grey PET picture in true proportions without frame; `options` go to imshow."""
    settings: dict[str, Any] = {
        "cmap": "gray_r",
        "vmin": SUV_WINDOW[0],
        "vmax": SUV_WINDOW[1],
        "interpolation": "bilinear",
    }
    shown = ax.imshow(image, extent=extent, aspect="equal", **(settings | options))
    ax.set_axis_off()
    return shown


def _corner(suv: Volume, mask: Volume) -> NDArray[np.intp]:
    """The index on the whole grid of a mask's first voxel."""
    return np.rint(suv.to_ijk(mask.affine[:3, 3])).astype(int)


def _outline_projection(ax: "Axes", suv: Volume, mask: Volume, axis: int, label: str = "") -> None:
    """The outline of a mask's shadow along `axis` of the volume, and a number beside it."""
    shadow = np.pad(np.asarray(mask.array).max(axis) > 0, 1)
    if not shadow.any():
        return
    kept = [a for a in range(3) if a != axis]
    corner = _corner(suv, mask)[kept] - 1
    spacing = np.array(suv.spacing_mm)[kept]
    u, v = ((np.arange(n) + c + 0.5) * s for n, c, s in zip(shadow.shape, corner, spacing))
    ax.contour(u, v, shadow.T.astype(float), levels=[0.5], colors=OUTLINE, linewidths=1.1)
    if label:
        # The number stands off the lesion, towards the nearer edge of the picture, where it covers nothing of it.
        right = max(ax.get_xlim())
        outward = 1 if u.mean() > right / 2 else -1
        edge = u[shadow.any(1)].max() if outward > 0 else u[shadow.any(1)].min()
        ax.annotate(
            label, (edge, v[shadow.any(0)].mean()), xytext=(-outward * 5, 0), textcoords="offset points",
            color=OUTLINE, fontsize=8,
            ha="right" if outward > 0 else "left", va="center", fontweight="bold",
        )  # fmt: skip


def _letters(ax: "Axes", left: str, right: str, top: str, bottom: str, color: str = INK, size: float = 9) -> None:
    """Orientation letters inside the edges of a picture."""
    for letter, x, y, ha, va in (
        (left, 0.015, 0.5, "left", "center"),
        (right, 0.985, 0.5, "right", "center"),
        (top, 0.5, 0.99, "center", "top"),
        (bottom, 0.5, 0.01, "center", "bottom"),
    ):
        ax.text(
            x, y, letter, transform=ax.transAxes, color=color, fontsize=size, ha=ha, va=va, path_effects=_halo(color)
        )


def _halo(color: str) -> "list[AbstractPathEffect]":
    """A thin rim that keeps bright letters readable on bone and dark ones on hot organs."""
    return _rim(2.0, color)


def _rim(width: float, color: str) -> "list[AbstractPathEffect]":
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground="white" if color == INK else "black"), Normal()]


def _scale_bar(ax: "Axes", length_mm: float, color: str = INK) -> None:
    """A bar of a known length in the lower left corner of a picture whose axes are in mm, named in cm."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    toward_right = np.sign(x1 - x0)
    start = x0 + 0.04 * (x1 - x0)
    y = y0 + 0.035 * (y1 - y0)
    ax.plot(
        [start, start + toward_right * length_mm],
        [y, y],
        color=color,
        linewidth=2.2,
        solid_capstyle="butt",
        path_effects=_rim(3.6, color),
    )
    middle = start + toward_right * length_mm / 2
    text = ax.text(middle, y + 0.012 * (y1 - y0), f"{length_mm / 10:.0f} cm", color=color, fontsize=7.5, ha="center")
    text.set_path_effects(_halo(color))


def lesion_figure(
    suv: Volume,
    ct: Volume | None = None,
    mask: Volume | None = None,
    sentence: str = "",
    measures: Mapping[str, float | str | None] | None = None,
    slice_k: int | None = None,
    mip: Mip | None = None,
    near_k: int | None = None,
    mark_ijk: tuple[int, int, int] | None = None,
) -> bytes:
    """PNG of one finding: both MIPs, and at its hottest slice the axial PET, CT and fusion, whole and magnified.

    `suv` and `mask` (a box of the same grid) are in RAS+ order; a `ct` on another grid is resampled. Without a
    mask, as of a rejected finding, `slice_k` says which slice is shown, whole, and `near_k` which one below it: the
    nearest that holds what the report measured. `measures` are printed as "name value"; None values are printed as a
    dash. `mip` saves projecting again where several findings of one exam are drawn. `mark_ijk` is a voxel to put a ring
    around, as the peak of a finding that was rejected for its side.
    """
    mip = mip or mip_of(suv)
    peak = _peak(suv, mask) if mask is not None else None
    k = (
        peak[2]
        if peak is not None
        else (suv.shape[2] // 2 if slice_k is None else int(np.clip(slice_k, 0, suv.shape[2] - 1)))
    )
    near_k = None if peak is not None or near_k == k else near_k
    rows = 2 if peak is not None or near_k is not None else 1
    names = ("PET", "CT", "PET/CT") if ct is not None else ("PET",)
    has_text = bool(sentence or measures)
    # Both projections on one scale, in a column of at most 3.8 x 5.1 inches.
    widths = [abs(e[0] - e[1]) for e in (mip.coronal_extent_mm, mip.sagittal_extent_mm)]
    inch_per_mm = min(5.1 / mip.coronal_extent_mm[3], 3.8 / sum(widths))
    columns = [*(w * inch_per_mm for w in widths), *[2.6] * len(names)]
    figure = new_figure(sum(columns) + 0.08 * len(columns) + 0.2, 6.3 if has_text else 5.6, dpi=100)
    grid = figure.add_gridspec(
        rows,
        len(columns),
        width_ratios=columns,
        left=0.01,
        right=0.99,
        top=1 - 0.33 / figure.get_figheight(),
        bottom=(0.9 if has_text else 0.1) / figure.get_figheight(),
        wspace=0.04,
        hspace=0.05,
    )
    height = (k + 0.5) * suv.spacing_mm[2]
    views = (
        (f"coronal MIP, {_SUV_WORDS}", mip.coronal, mip.coronal_extent_mm, 1, "RL"),
        ("sagittal MIP", mip.sagittal, mip.sagittal_extent_mm, 0, "AP"),
    )
    for column, (title, image, extent, axis, sides) in enumerate(views):
        view = figure.add_subplot(grid[:, column])
        _show(view, image, extent)
        if mask is not None:
            _outline_projection(view, suv, mask, axis)
        view.axhline(height, color=SECOND, linewidth=0.8, linestyle=(0, (5, 4)))
        if near_k is not None:
            view.axhline((near_k + 0.5) * suv.spacing_mm[2], color=OUTLINE, linewidth=0.8, linestyle=(0, (1, 3)))
        if mark_ijk is not None:
            _ring(view, suv, mark_ijk, (1 - axis, 2))
        _letters(view, sides[0], sides[1], "H", "F")
        view.set_title(title, fontsize=9, color=INK)
        if column == 0:
            _scale_bar(view, 100.0)
    for row in range(rows):
        shown_k = near_k if row == 1 and near_k is not None else k
        planes = _axial(suv, ct, mask, shown_k)
        is_zoomed = row == 1 and peak is not None
        for column, name in enumerate(names):
            ax = figure.add_subplot(grid[row, column + 2])
            _draw_axial(ax, name, planes)
            if mask is not None:
                _outline_slice(ax, suv, mask, k, OUTLINE_ON_FUSION if name == "PET/CT" else OUTLINE)
            if mark_ijk is not None and mark_ijk[2] == shown_k:
                _ring(ax, suv, mark_ijk, (0, 1))
            if is_zoomed and peak is not None:
                _zoom(ax, suv, peak)
            else:
                ax.set_xlim(mip.coronal_extent_mm[:2])
                ax.set_ylim(mip.sagittal_extent_mm[1::-1])
            color = INK if name == "PET" else ON_DARK
            _letters(ax, "R", "L", "A", "P", color=color, size=9)
            _scale_bar(ax, 20.0 if is_zoomed else 100.0, color=color)
            if not is_zoomed:
                titles = {"CT": f"CT, {planes.window_hu[0]:.0f} to {planes.window_hu[1]:.0f} HU"}
                titles["PET"] = f"{'nearest: ' * row}PET, slice {suv.shape[2] - shown_k} from the head"
                ax.set_title(titles.get(name, name), fontsize=9, color=INK)
    _caption(figure, sentence, measures or {})
    return png_bytes(figure)


def thumbnail(suv: Volume, mask: Volume | None = None, slice_k: int | None = None, mip: Mip | None = None) -> bytes:
    """PNG of 132 x 132 pixels: 12 cm of the axial PET around a lesion with its contour, a whole slice without one, or
    the coronal MIP where no slice is known either.
    """
    figure = new_figure(1.32, 1.32, dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    if mask is None and slice_k is None:
        mip = mip or mip_of(suv)
        _show(ax, mip.coronal, mip.coronal_extent_mm)
        return png_bytes(figure)
    peak = _peak(suv, mask) if mask is not None else None
    k = peak[2] if peak is not None else int(np.clip(slice_k or 0, 0, suv.shape[2] - 1))
    _draw_axial(ax, "PET", _axial(suv, None, mask, k))
    if mask is not None and peak is not None:
        _outline_slice(ax, suv, mask, k, OUTLINE)
        _zoom(ax, suv, peak)
    return png_bytes(figure)


def _peak(suv: Volume, mask: Volume) -> tuple[int, int, int]:
    """The hottest voxel of a mask on the whole grid. ValueError for an empty mask."""
    inside = np.asarray(mask.array) > 0
    if not inside.any():
        raise ValueError("expected a mask with voxels, got an empty one: draw the finding without a mask")
    corner = _corner(suv, mask)
    box = tuple(slice(c, c + n) for c, n in zip(corner, inside.shape))
    i, j, k = np.unravel_index(int(np.where(inside, suv.array[box], -np.inf).argmax()), inside.shape)
    return int(i + corner[0]), int(j + corner[1]), int(k + corner[2])


@dataclass(frozen=True, eq=False)
class _Planes:
    """One axial slice, rows from the front down and columns from the patient's right on; extent in mm."""

    pet: NDArray[np.float32]
    ct: NDArray[np.float32] | None
    extent: Extent
    window_hu: tuple[float, float]


def _axial(suv: Volume, ct: Volume | None, mask: Volume | None, k: int) -> _Planes:
    slab = (slice(None), slice(None), slice(k, k + 1))
    plane = suv.crop(slab)
    extent = (suv.shape[0] * suv.spacing_mm[0], 0.0, 0.0, suv.shape[1] * suv.spacing_mm[1])
    pet = np.asarray(plane.array[:, :, 0], np.float32).T[::-1, ::-1]
    if ct is None:
        return _Planes(pet, None, extent, SOFT_TISSUE_HU)
    aligned = ct.crop(slab) if ct.same_grid(suv) else resample_to(ct, plane, 1, -1000)
    hu = np.asarray(aligned.array[:, :, 0], np.float32)
    window = SOFT_TISSUE_HU
    if mask is not None:
        around = ndimage.binary_dilation(inside := _on_slice(suv, mask, k), iterations=3) & ~inside
        if around.any() and np.median(hu[around]) < _LUNG_LIMIT_HU:
            window = LUNG_HU
    return _Planes(pet, hu.T[::-1, ::-1], extent, window)


def _on_slice(suv: Volume, mask: Volume, k: int) -> NDArray[np.bool_]:
    """A mask on slice k of the whole grid (i, j)."""
    whole = np.zeros(suv.shape[:2], bool)
    i, j, first = _corner(suv, mask)
    if first <= k < first + mask.shape[2]:
        whole[i : i + mask.shape[0], j : j + mask.shape[1]] = np.asarray(mask.array[:, :, k - first]) > 0
    return whole


def _draw_axial(ax: "Axes", name: str, planes: _Planes) -> None:
    if name == "PET" or planes.ct is None:
        _show(ax, planes.pet, planes.extent)
        return
    low, high = planes.window_hu
    _show(ax, planes.ct, planes.extent, cmap="gray", vmin=low, vmax=high)
    if name == "PET/CT":
        share = np.clip((planes.pet - SUV_WINDOW[0]) / (SUV_WINDOW[1] - SUV_WINDOW[0]), 0, 1)
        # Faint uptake stays see-through, so that the anatomy can be read under it.
        _show(ax, planes.pet, planes.extent, cmap="hot", alpha=np.clip(1.3 * share, 0, 0.75))


def _outline_slice(ax: "Axes", suv: Volume, mask: Volume, k: int, color: str) -> None:
    """The contour of a mask on slice k, along the edges of its voxels."""
    spacing = suv.spacing_mm
    padded = np.pad(_on_slice(suv, mask, k), 1)
    segments: list[tuple[list[float], list[float]]] = []
    for i, j in np.argwhere(padded[1:, :] != padded[:-1, :]):
        x, y = i * spacing[0], (j - 1) * spacing[1]
        segments.append(([x, x], [y, y + spacing[1]]))
    for i, j in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        x, y = (i - 1) * spacing[0], j * spacing[1]
        segments.append(([x, x + spacing[0]], [y, y]))
    xs = [v for s in segments for v in (*s[0], np.nan)]
    ys = [v for s in segments for v in (*s[1], np.nan)]
    ax.plot(xs, ys, color=color, linewidth=1.0, solid_capstyle="round")


def _ring(ax: "Axes", suv: Volume, ijk: tuple[int, int, int], axes: tuple[int, int]) -> None:
    """A ring around a voxel on a view along two of the volume's axes."""
    x, y = ((ijk[n] + 0.5) * suv.spacing_mm[n] for n in axes)
    ax.plot([x], [y], "o", markersize=18, markerfacecolor="none", markeredgecolor=OUTLINE, markeredgewidth=1.2)


def _zoom(ax: "Axes", suv: Volume, peak: tuple[int, int, int]) -> None:
    """Limits of 12 cm around the peak, the patient's right still on the left."""
    x, y = ((p + 0.5) * s for p, s in zip(peak[:2], suv.spacing_mm[:2]))
    ax.set_xlim(x + _ZOOM_MM / 2, x - _ZOOM_MM / 2)
    ax.set_ylim(y - _ZOOM_MM / 2, y + _ZOOM_MM / 2)


def _caption(figure: "Figure", sentence: str, measures: Mapping[str, float | str | None]) -> None:
    """The sentence and the measures under the pictures."""
    characters = int(12.5 * figure.get_figwidth())
    lines = textwrap.wrap(textwrap.shorten(sentence, 3 * characters, placeholder=" ..."), characters)
    top = 0.85 / figure.get_figheight()
    if lines:
        figure.text(0.012, top, "\n".join(lines), fontsize=9, color=INK, va="top", style="italic")
    if measures:
        # Spaces that do not break keep a name beside its value.
        items = [f"{name} {_value(value)}".replace(" ", "\u00a0") for name, value in measures.items()]
        text = "\n".join(textwrap.wrap("   ".join(items), characters, drop_whitespace=True))
        figure.text(0.012, top - 0.031 * len(lines) - 0.008, text, fontsize=8.5, color=SECOND, va="top")


def _value(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def funnel_figure(counts: pl.DataFrame) -> bytes:
    """PNG of the attrition: a bar for every step that is left, and under it why the others fell out.

    `counts` has the columns `what`, `reason` (null for a step that is left) and `n`, in order, as the query `funnel`
    gives them. Exams, sentences and findings are counted in units of their own, so each has a scale of its own.
    """
    _require(counts, ("what", "reason", "n"))
    rows = counts.to_dicts()
    largest: dict[str, int] = {}
    for row in rows:
        unit = _unit(row["what"])
        largest[unit] = max(largest.get(unit, 1), row["n"])
    figure = new_figure(8.4, 0.36 * max(len(rows), 3) + 0.7)
    ax = figure.add_axes((0.36, 0.03, 0.6, 0.9))
    for y, row in enumerate(rows):
        is_step = row["reason"] is None
        size = 9 if is_step else 8
        share = row["n"] / largest[_unit(row["what"])]
        ax.barh(y, share, height=0.72 if is_step else 0.5, color=SECOND if is_step else "#c9ccd1")
        ax.text(
            -0.015, y, row["what"] if is_step else str(row["reason"]), ha="right", va="center", fontsize=size,
            color=INK if is_step else "#555a61", fontweight="bold" if is_step else "normal",
        )  # fmt: skip
        part = f"  ({share:.0%})" if share < 1 else ""
        ax.text(share + 0.012, y, f"{row['n']:,}{part}", va="center", fontsize=size, color=INK)
        if y and _unit(row["what"]) != _unit(rows[y - 1]["what"]):
            # Another unit, another scale.
            ax.plot([0, 1.14], [y - 0.5, y - 0.5], color="#dde0e4", linewidth=0.8)
    ax.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    ax.set_xlim(0, 1.14)
    ax.set_axis_off()
    ax.set_title("From exams to lesions (grey: left out, and why)", fontsize=10, color=INK, loc="left")
    return png_bytes(figure)


def _unit(what: str) -> str:
    """What a step of the funnel counts."""
    return "exam" if "exam" in what else "sentence" if "sentence" in what else "finding"


def scores_figure(scores: pl.DataFrame) -> bytes:
    """PNG of the scores with their 95 % intervals, one panel a metric, one line a model.

    `scores` are rows of the table `scores`. Published figures are hollow and below the others, metrics that have none
    come after those that have; what could not be computed is said, never drawn as a zero.
    """
    _require(scores, ("model", "split", "metric", "value", "low", "high", "status"))
    rows = scores.to_dicts()
    published = [r["metric"] for r in rows if r["status"] == "published"]
    metrics = sorted(dict.fromkeys(r["metric"] for r in rows), key=lambda m: m not in published)
    beside = [metrics[: len(set(published))], metrics[len(set(published)) :]]
    strips = [group[n : n + _STRIP] for group in beside for n in range(0, len(group), _STRIP)]
    lines = [
        sorted(
            dict.fromkeys((r["model"], r["split"], r["status"] == "published") for r in rows if r["metric"] in strip),
            key=lambda line: line[2],
        )
        for strip in strips
    ]
    heights = [0.24 * max(2, len(own)) + 0.62 for own in lines] or [1.0]
    columns = max(1, *(len(strip) for strip in strips)) if strips else 1
    figure = new_figure(2.4 * columns + 2.4, sum(heights) + 0.2, layout="constrained")
    grid = figure.add_gridspec(max(1, len(strips)), columns, height_ratios=heights)
    for n, (strip, own) in enumerate(zip(strips, lines)):
        for m, metric in enumerate(strip):
            ax = figure.add_subplot(grid[n, m])
            _draw_scores(ax, own, [r for r in rows if r["metric"] == metric])
            ax.set_title(metric, fontsize=8.5, color=INK)
            names = [model if paper else f"{model} ({split})" for model, split, paper in own]
            ax.set_yticks(range(len(own)), names if m == 0 else [""] * len(own), fontsize=7.5)
    return png_bytes(figure)


_STRIP = 4


def _draw_scores(ax: "Axes", lines: Sequence[tuple[str, str, bool]], rows: Sequence[Mapping[str, Any]]) -> None:
    by_line = {(r["model"], r["split"]): r for r in rows}
    for y, (model, split, published) in enumerate(lines):
        row = by_line.get((model, split))
        if row is None:
            continue
        value = row["value"]
        if value is None:
            ax.text(0.02, y, "not computed", transform=ax.get_yaxis_transform(), va="center", fontsize=7, color=MUTED)
            continue
        if row["low"] is not None and row["high"] is not None:
            ax.plot([row["low"], row["high"]], [y, y], color=SECOND, linewidth=1.6)
        face = "white" if published else SECOND
        ax.plot([value], [y], marker="o", markersize=5, markerfacecolor=face, markeredgecolor=SECOND)
        ax.annotate(
            f"{value:.3f}", (value, y), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=6.5, color=INK
        )
    ax.set_ylim(len(lines) - 0.4, -0.75)
    ax.tick_params(axis="x", labelsize=7)
    ax.margins(x=0.18)
    drawn = {r[name] for r in rows for name in ("value", "low", "high") if r[name] is not None}
    if len(drawn) == 1:
        # Of one value matplotlib's axis would show its fifth digit.
        (value,) = drawn
        ax.set_xlim(0.5 * value - 0.1, 1.5 * value + 0.1) if value >= 0 else ax.set_xlim(1.5 * value, 0.5 * value)
    if not drawn:
        ax.set_xticks([])
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", color="#eceef1", linewidth=0.7)
    ax.set_axisbelow(True)


def lineage_figure(edges: Sequence[tuple[str, str]]) -> bytes:
    """PNG of a lineage: a box a node in columns by its distance from the sources, an arrow for each (upstream,
    downstream) that no longer way already shows; long lineages are broken into bands.

    Raises ValueError for a cycle.
    """
    column = _columns(edges)
    depth = max(column.values(), default=0) + 1
    bands = -(-depth // _BAND_COLUMNS)
    members = {c: [n for n in column if column[n] == c] for c in range(depth)}
    tallest = [
        max(len(members[c]) for c in range(b * _BAND_COLUMNS, min(depth, (b + 1) * _BAND_COLUMNS)))
        for b in range(bands)
    ]
    middle = [-(sum(tallest[:b]) + 0.6 * b + (tallest[b] - 1) / 2) for b in range(bands)]
    place: dict[str, tuple[float, float]] = {}
    for c, names in members.items():
        # A node stands at the mean height of what it is made from, so that arrows cross little.
        heights = {n: [place[u][1] for u, d in edges if d == n and u in place] for n in names}
        names.sort(key=lambda n: np.mean(heights[n]) if heights[n] else 0.0, reverse=True)
        for r, name in enumerate(names):
            place[name] = (c % _BAND_COLUMNS, middle[c // _BAND_COLUMNS] + (len(names) - 1) / 2 - r)
    from matplotlib import patches

    height = sum(tallest) + 0.6 * (bands - 1)
    width = min(depth, _BAND_COLUMNS)
    figure = new_figure(1.55 * width, 0.62 * height + 0.15)
    ax = figure.add_axes((0, 0, 1, 1))
    gaps = [middle[b] - (tallest[b] - 1) / 2 - 0.8 for b in range(bands)]
    taken: list[_Lane] = []
    for upstream, downstream in _without_shortcuts(edges, column):
        start, end = place[upstream], place[downstream]
        band = column[upstream] // _BAND_COLUMNS
        if column[downstream] // _BAND_COLUMNS != band:
            _arrow(ax, start, end, free_lane(gaps[band], (-1.0, width), (), taken))
        elif end[0] - start[0] < 1.5:
            _arrow(ax, start, end)
        else:
            passed = [y for x, y in place.values() if start[0] < x < end[0]]
            _arrow(ax, start, end, free_lane(start[1], (start[0], end[0]), passed, taken))
    for name, (x, y) in place.items():
        shape = patches.FancyBboxPatch((x - 0.38, y - 0.24), 0.76, 0.48, boxstyle="round,pad=0.02,rounding_size=0.08")
        shape.set(facecolor="#eaf2f7", edgecolor=SECOND, linewidth=0.9, zorder=2)
        ax.add_patch(shape)
        label = textwrap.fill(name.replace("_", " "), 13)
        ax.text(x, y, label, ha="center", va="center", fontsize=8.5, color=INK, zorder=3)
    ax.set_xlim(-0.55, width - 0.45)
    ax.set_ylim(-height + 0.4, 0.6)
    ax.set_axis_off()
    return png_bytes(figure)


_BAND_COLUMNS = 9
_Lane = tuple[float, tuple[float, float]]


def free_lane(wanted: float, columns: tuple[float, float], boxes: Sequence[float], taken: list[_Lane]) -> float:
    """The height nearest to the wanted one at which a line meets no box and no line of the same columns; it is taken
    then.
    """
    lines = [y for y, (low, high) in taken if low < columns[1] and columns[0] < high]
    heights = (wanted + side * step for step in np.arange(0.0, 50.0, 0.1) for side in (1, -1))
    lane = next(
        y for y in heights if all(abs(y - b) > 0.34 for b in boxes) and all(abs(y - other) > 0.09 for other in lines)
    )
    taken.append((lane, columns))
    return lane


def _arrow(ax: "Axes", start: tuple[float, float], end: tuple[float, float], lane: float | None = None) -> None:
    """From a box to another, straight, or along a lane between the boxes on the way."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    (x0, y0), (x1, y1) = (start[0] + 0.41, start[1]), (end[0] - 0.41, end[1])
    line: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "linewidth": 0.8, "color": MUTED, "zorder": 1}
    if lane is None:
        ax.add_patch(FancyArrowPatch((x0, y0), (x1, y1), shrinkA=0, shrinkB=0, **line))
        return
    corners = [(x0, y0), (x0 + 0.07, y0), (x0 + 0.07, lane), (x1 - 0.08, lane), (x1 - 0.08, y1), (x1, y1)]
    ax.add_patch(FancyArrowPatch(path=Path(corners), **line))


def _without_shortcuts(edges: Sequence[tuple[str, str]], column: Mapping[str, int]) -> list[tuple[str, str]]:
    """The edges that are not implied by a longer way between the same nodes."""
    below: dict[str, set[str]] = {n: set() for n in column}
    for node in sorted(column, key=lambda n: -column[n]):
        for upstream, downstream in edges:
            if upstream == node:
                below[node] |= {downstream} | below[downstream]
    return [
        (u, d)
        for u, d in dict.fromkeys(edges)
        if not any(d in below[other] for up, other in edges if up == u and other != d)
    ]


def _columns(edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest distance of every node from a source."""
    nodes = list(dict.fromkeys(n for edge in edges for n in edge))
    column = dict.fromkeys(nodes, 0)
    for _ in range(len(nodes) + 1):
        changed = False
        for upstream, downstream in edges:
            if column[downstream] < column[upstream] + 1:
                column[downstream], changed = column[upstream] + 1, True
        if not changed:
            return column
    raise ValueError(f"expected a lineage without cycles, got {list(edges)}: remove the edge that goes back")


def _require(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise ValueError(
            f"expected the columns {', '.join(columns)}, got {', '.join(frame.columns)}: {missing} are missing"
        )


def new_figure(
    width_inch: float, height_inch: float, dpi: int = 110, layout: Literal["constrained"] | None = None
) -> "Figure":
    """An empty figure; `png_bytes` makes a picture of it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inch, height_inch), dpi=dpi, layout=layout)


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
    colours = np.array([_rgb(c) for c in (OUTLINE, OUTLINE_ON_FUSION, ON_DARK, SECOND)], np.uint8)
    if coloured.any():
        rest = Image.fromarray(pixels[coloured][None])
        reduced = rest.quantize(256 - _GREY_LEVELS - len(colours), method=Image.Quantize.MEDIANCUT)
        colours = np.vstack([colours, np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)])[: 256 - _GREY_LEVELS]
        indices[coloured] = _GREY_LEVELS + cKDTree(colours).query(pixels[coloured])[1].astype(np.uint8)
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette(np.vstack([np.repeat(levels[:, None], 3, axis=1), colours]).ravel().tolist())
    return picture


def _rgb(hex_colour: str) -> tuple[int, ...]:
    return tuple(int(hex_colour[n : n + 2], 16) for n in (1, 3, 5))
