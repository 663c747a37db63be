"""The picture of the lineage in README.md, drawn from the definitions: python -m assets.lineage_picture."""

import textwrap
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.definitions import build_defs
from pipelines.imaging.figure_base import INK, MUTED, SECOND, new_figure, png_bytes
from pipelines.tables import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "lineage.png"
ASIDE = {
    *("identifiers", "reports", "corrections", "slice_conventions", "accepted_curation", "curation_diff", "exports"),
    "overview",
    *("exam_pairs", "lesion_links", "exam_reports", "candidates", "proposals"),
    *("checkpoint_texts", "file_texts", "vlm_texts", "baseline_texts", "ablation", "reader_scorecard"),
}
"""Assets that the picture leaves out, so that the way from exams to the scoreboard can be seen in it."""

_BAND_COLUMNS = 9
_Lane = tuple[float, tuple[float, float]]


def edges() -> list[tuple[str, str]]:
    """(upstream, downstream) of all assets that are drawn, in the order in which they are made."""
    graph = build_defs().resolve_asset_graph()
    pairs = [
        (above.to_user_string(), key.to_user_string())
        for key in graph.toposorted_asset_keys
        for above in sorted(graph.get(key).parent_keys)
    ]
    return [pair for pair in pairs if not ASIDE & set(pair)]


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
    from matplotlib.path import Path as Line

    (x0, y0), (x1, y1) = (start[0] + 0.41, start[1]), (end[0] - 0.41, end[1])
    line: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "linewidth": 0.8, "color": MUTED, "zorder": 1}
    if lane is None:
        ax.add_patch(FancyArrowPatch((x0, y0), (x1, y1), shrinkA=0, shrinkB=0, **line))
        return
    corners = [(x0, y0), (x0 + 0.07, y0), (x0 + 0.07, lane), (x1 - 0.08, lane), (x1 - 0.08, y1), (x1, y1)]
    ax.add_patch(FancyArrowPatch(path=Line(corners), **line))


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
    """The longest distance of every node from a source; a cycle is graphlib's CycleError, a ValueError."""
    column = dict.fromkeys((n for edge in edges for n in edge), 0)
    above = {node: [u for u, d in edges if d == node] for node in column}
    for node in TopologicalSorter(above).static_order():
        column[node] = max((column[u] + 1 for u in above[node]), default=0)
    return column


if __name__ == "__main__":
    atomic.write_bytes(PICTURE, lineage_figure(edges()))
    print(PICTURE)
