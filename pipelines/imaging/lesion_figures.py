"""Pictures of lesions as PNG bytes, in the conventions of nuclear medicine: PET in inverted grey from SUV 0 to 10, the
patient's left on the right of a picture, the front of a sagittal view on its left, true proportions, a scale bar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.figure_base import (
    INK,
    ON_DARK,
    OUTLINE,
    OUTLINE_ON_FUSION,
    SECOND,
    new_figure,
    png_bytes,
)
from pipelines.imaging.problems import ExamError
from pipelines.imaging.projections import Extent, Mip, mip_of
from pipelines.imaging.volume import Volume, resample_to
from pipelines.tables.exam_problems import ExamProblem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect

SUV_WINDOW = (0.0, 10.0)
SOFT_TISSUE_HU = (-160.0, 240.0)
LUNG_HU = (-1350.0, 150.0)
_SUV_WORDS = f"SUV {SUV_WINDOW[0]:.0f} to {SUV_WINDOW[1]:.0f}"
_ZOOM_MM = 120.0
"""Side of the magnified view; of a lesion that it would cut, `_ROOM` times the lesion's own width."""
_ROOM = 1.3
_SUV_TOPS = (20.0, 30.0, 50.0, 100.0, 200.0, 500.0)
_SOLID = 1.5
"""A lesion hotter than this many times the window's top is solid black in it, and gets the next window."""
_LUNG_LIMIT_HU = -500.0


def suv_top(suvmax: float) -> float:
    """Top of the SUV window of a lesion's slices: 10, or for a hotter lesion the first of 20, 30, 50, 100, 200, 500
    in which it is not solid black.
    """
    tops = (SUV_WINDOW[1], *_SUV_TOPS)
    return next((top for top in tops if suvmax <= _SOLID * top), tops[-1])


def mip_figure(suv: Volume, masks: Sequence[Volume] = ()) -> bytes:
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


@dataclass(frozen=True, eq=False)
class _Finding:
    """What the views of one finding show, all on the grid of `suv`."""

    suv: Volume
    ct: Volume | None
    mask: Volume | None
    mip: Mip
    peak: tuple[int, int, int] | None
    k: int
    """Slice that is shown."""
    near_k: int | None
    mark_ijk: tuple[int, int, int] | None


def lesion_figure(
    suv: Volume,
    ct: Volume | None = None,
    mask: Volume | None = None,
    *,
    slice_k: int | None = None,
    mip: Mip | None = None,
    near_k: int | None = None,
    mark_ijk: tuple[int, int, int] | None = None,
) -> bytes:
    """PNG of one finding: both MIPs, and at its hottest slice the axial PET, CT and fusion, whole and magnified.

    Args:
        suv: PET in RAS+ order.
        ct: CT in HU; resampled where its grid is another one.
        mask: box of the same grid; None for a rejected finding.
        slice_k: slice that is shown, whole, where there is no mask.
        mip: projections of `suv`, which saves projecting again for several findings of one exam.
        near_k: slice that is shown below it: the nearest one that holds the reported SUVmax.
        mark_ijk: voxel to put a ring around, as the peak of a finding that was rejected for its side.
    """
    peak = _peak(suv, mask) if mask is not None else None
    if peak is not None:
        k = peak[2]
    else:
        k = suv.shape[2] // 2 if slice_k is None else int(np.clip(slice_k, 0, suv.shape[2] - 1))
    near_k = None if peak is not None or near_k == k else near_k
    finding = _Finding(suv, ct, mask, mip or mip_of(suv), peak, k, near_k, mark_ijk)
    rows = 2 if peak is not None or near_k is not None else 1
    names = ("PET", "CT", "PET/CT") if ct is not None else ("PET",)
    # Both projections on one scale, in a column of at most 3.8 x 5.1 inches.
    extents = (finding.mip.coronal_extent_mm, finding.mip.sagittal_extent_mm)
    widths = [abs(e[0] - e[1]) for e in extents]
    inch_per_mm = min(5.1 / extents[0][3], 3.8 / sum(widths))
    columns = [*(w * inch_per_mm for w in widths), *[2.6] * len(names)]
    figure = new_figure(sum(columns) + 0.08 * len(columns) + 0.2, 5.6, dpi=100)
    grid = figure.add_gridspec(
        rows,
        len(columns),
        width_ratios=columns,
        left=0.01,
        right=0.99,
        top=1 - 0.33 / figure.get_figheight(),
        bottom=0.1 / figure.get_figheight(),
        wspace=0.04,
        hspace=0.05,
    )
    for column in range(2):
        _draw_projection(figure.add_subplot(grid[:, column]), finding, column)
    for row in range(rows):
        planes = _axial(suv, ct, mask, k if row == 0 or near_k is None else near_k)
        for column, name in enumerate(names):
            _draw_slice(figure.add_subplot(grid[row, column + 2]), finding, planes, name, row)
    return png_bytes(figure)


def _draw_projection(ax: "Axes", finding: _Finding, column: int) -> None:
    """The coronal (column 0) or the sagittal MIP with the heights of the slices that are shown."""
    suv, mip = finding.suv, finding.mip
    title, image, extent, axis, sides = (
        (f"coronal MIP, {_SUV_WORDS}", mip.coronal, mip.coronal_extent_mm, 1, "RL"),
        ("sagittal MIP", mip.sagittal, mip.sagittal_extent_mm, 0, "AP"),
    )[column]
    _show(ax, image, extent)
    if finding.mask is not None:
        _outline_projection(ax, suv, finding.mask, axis)
    ax.axhline((finding.k + 0.5) * suv.spacing_mm[2], color=SECOND, linewidth=0.8, linestyle=(0, (5, 4)))
    if finding.near_k is not None:
        ax.axhline((finding.near_k + 0.5) * suv.spacing_mm[2], color=OUTLINE, linewidth=0.8, linestyle=(0, (1, 3)))
    if finding.mark_ijk is not None:
        _ring(ax, suv, finding.mark_ijk, (1 - axis, 2))
    _letters(ax, sides[0], sides[1], "H", "F")
    ax.set_title(title, fontsize=9, color=INK)
    if column == 0:
        _scale_bar(ax, 100.0)


def _draw_slice(ax: "Axes", finding: _Finding, planes: "_Planes", name: str, row: int) -> None:
    """PET, CT or fusion of one slice: whole in row 0 and of a rejected finding, magnified in row 1 of a lesion."""
    suv, peak, extents = finding.suv, finding.peak, finding.mip
    _draw_axial(ax, name, planes)
    if finding.mask is not None:
        _outline_slice(ax, suv, finding.mask, planes.k, OUTLINE_ON_FUSION if name == "PET/CT" else OUTLINE)
    if finding.mark_ijk is not None and finding.mark_ijk[2] == planes.k:
        _ring(ax, suv, finding.mark_ijk, (0, 1))
    is_zoomed = row == 1 and peak is not None
    if is_zoomed and peak is not None:
        _zoom(ax, suv, peak, finding.mask)
    else:
        ax.set_xlim(extents.coronal_extent_mm[:2])
        ax.set_ylim(extents.sagittal_extent_mm[1::-1])
    color = INK if name == "PET" else ON_DARK
    _letters(ax, "R", "L", "A", "P", color=color, size=9)
    _scale_bar(ax, 20.0 if is_zoomed else 100.0, color=color)
    if not is_zoomed:
        titles = {"CT": f"CT, {planes.window_hu[0]:.0f} to {planes.window_hu[1]:.0f} HU"}
        window = "" if planes.suv_top == SUV_WINDOW[1] else f", SUV 0 to {planes.suv_top:.0f}"
        titles["PET"] = f"{'nearest: ' * row}PET, slice {suv.shape[2] - planes.k} from the head{window}"
        ax.set_title(titles.get(name, name), fontsize=9, color=INK)


def thumbnail(suv: Volume, mask: Volume | None = None, slice_k: int | None = None, mip: Mip | None = None) -> bytes:
    """PNG of 132 x 132 pixels: 12 cm, or the whole lesion, of the axial PET with its contour, a whole slice without
    one, or the coronal MIP where no slice is known either.
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
        _zoom(ax, suv, peak, mask)
    return png_bytes(figure)


def _peak(suv: Volume, mask: Volume) -> tuple[int, int, int]:
    """The hottest voxel of a mask on the whole grid. ExamError for an empty mask."""
    inside = np.asarray(mask.array) > 0
    if not inside.any():
        raise ExamError(
            ExamProblem.BAD_VALUES, "expected a mask with voxels, got an empty one: draw the finding without a mask"
        )
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
    k: int
    suv_top: float


def _axial(suv: Volume, ct: Volume | None, mask: Volume | None, k: int) -> _Planes:
    slab = (slice(None), slice(None), slice(k, k + 1))
    plane = suv.crop(slab)
    extent = (suv.shape[0] * suv.spacing_mm[0], 0.0, 0.0, suv.shape[1] * suv.spacing_mm[1])
    pet = np.asarray(plane.array[:, :, 0], np.float32).T[::-1, ::-1]
    top = SUV_WINDOW[1] if mask is None else suv_top(float(suv.array[_peak(suv, mask)]))
    if ct is None:
        return _Planes(pet, None, extent, SOFT_TISSUE_HU, k, top)
    aligned = ct.crop(slab) if ct.same_grid(suv) else resample_to(ct, plane, 1, -1000)
    hu = np.asarray(aligned.array[:, :, 0], np.float32)
    window = SOFT_TISSUE_HU
    if mask is not None:
        around = ndimage.binary_dilation(inside := _on_slice(suv, mask, k), iterations=3) & ~inside
        if around.any() and np.median(hu[around]) < _LUNG_LIMIT_HU:
            window = LUNG_HU
    return _Planes(pet, hu.T[::-1, ::-1], extent, window, k, top)


def _on_slice(suv: Volume, mask: Volume, k: int) -> NDArray[np.bool_]:
    """A mask on slice k of the whole grid (i, j)."""
    whole = np.zeros(suv.shape[:2], bool)
    i, j, first = _corner(suv, mask)
    if first <= k < first + mask.shape[2]:
        whole[i : i + mask.shape[0], j : j + mask.shape[1]] = np.asarray(mask.array[:, :, k - first]) > 0
    return whole


def _draw_axial(ax: "Axes", name: str, planes: _Planes) -> None:
    if name == "PET" or planes.ct is None:
        _show(ax, planes.pet, planes.extent, vmax=planes.suv_top)
        return
    low, high = planes.window_hu
    _show(ax, planes.ct, planes.extent, cmap="gray", vmin=low, vmax=high)
    if name == "PET/CT":
        share = np.clip((planes.pet - SUV_WINDOW[0]) / (planes.suv_top - SUV_WINDOW[0]), 0, 1)
        # Faint uptake stays see-through, so that the anatomy can be read under it.
        _show(ax, planes.pet, planes.extent, cmap="hot", vmax=planes.suv_top, alpha=np.clip(1.3 * share, 0, 0.75))


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


def _zoom(ax: "Axes", suv: Volume, peak: tuple[int, int, int], mask: Volume | None) -> None:
    """Limits of 12 cm around the peak, or the whole lesion where they cut it; the patient's right is on the left."""
    x, y = ((p + 0.5) * s for p, s in zip(peak[:2], suv.spacing_mm[:2]))
    side = _ZOOM_MM
    if mask is not None:
        low = _corner(suv, mask)[:2] * np.array(suv.spacing_mm[:2])
        high = low + np.array(mask.shape[:2]) * suv.spacing_mm[:2]
        if max(x - low[0], high[0] - x, y - low[1], high[1] - y) > side / 2:
            x, y = ((a + b) / 2 for a, b in zip(low, high))
            side = max(side, _ROOM * float(max(high - low)))
    ax.set_xlim(x + side / 2, x - side / 2)
    ax.set_ylim(y - side / 2, y + side / 2)
