"""The figure of scores with their intervals, for models and for readers of reports."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from pipelines.imaging.figure_base import INK, MUTED, SECOND, new_figure, png_bytes, require_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STRIP = 4


def scores_figure(scores: pl.DataFrame) -> bytes:
    """PNG of the scores with their 95 % intervals, one panel a metric, one line a model.

    `scores` are rows of the table `scores`. Published figures are hollow and below the others, metrics that have none
    come after those that have; what could not be computed is said, never drawn as a zero.
    """
    require_columns(scores, ("model", "split", "metric", "value", "low", "high", "status"))
    if "numbers" in scores.columns:
        # Published values are of numbers as generated, and stand beside such alone.
        raw = pl.col("metric").is_in(scores.filter(pl.col("numbers") == "raw")["metric"].unique().to_list())
        scores = scores.filter(pl.col("subset") == "all", (pl.col("numbers") == "raw") | ~raw)
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
