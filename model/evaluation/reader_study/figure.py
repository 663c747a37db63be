"""The reader study as a figure: ratings a text's author, preferences, and metrics against the readers."""

from typing import TYPE_CHECKING, Any

import polars as pl

from model.evaluation.metrics import METRICS
from model.evaluation.reader_study.ratings import CRITERIA
from model.evaluation.reader_study.results import ALL
from pipelines.imaging.figure_base import INK, MUTED, SECOND, new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (SECOND, "#a86400")


def study_figure(agreement: pl.DataFrame) -> bytes:
    """PNG of the rows of `agreement`: means with intervals, preferences, Spearman; published values are hollow."""
    rows = agreement.filter(pl.col("value").is_not_null())
    figure = new_figure(12, 5.2, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 0.9, 1.5))
    _means(left, rows.filter(statistic="mean"))
    _preferences(middle, rows.filter(statistic="preference"))
    _spearmans(right, rows.filter(statistic="spearman", criterion=ALL))
    return png_bytes(figure)


def _means(ax: "Axes", rows: pl.DataFrame) -> None:
    criteria = [*CRITERIA, ALL]
    authors = sorted(set(rows["subject"]), key=lambda name: name == "report")
    for n, author in enumerate(authors):
        for at, criterion in enumerate(criteria):
            for row in rows.filter(subject=author, criterion=criterion).iter_rows(named=True):
                _point(
                    ax, row, at + 0.16 * (n - (len(authors) - 1) / 2), _COLOURS[n % 2], label=author if at == 0 else ""
                )
    ax.set_yticks(range(len(criteria)), criteria, fontsize=8.5)
    ax.set_ylim(len(criteria) - 0.5, -0.5)
    ax.set_xlim(0.9, 5.1)
    ax.set_xticks(range(1, 6))
    if authors:
        ax.legend(fontsize=8, frameon=False, loc="lower left")
    _plain(ax, "Ratings, 1 to 5")


def _preferences(ax: "Axes", rows: pl.DataFrame) -> None:
    choices = ("model", "tie", "report")
    for at, choice in enumerate(choices):
        for name in (choice, f"{choice} (paper)"):
            for row in rows.filter(subject=name).iter_rows(named=True):
                _point(ax, row, at + (0.16 if row["status"] == "published" else -0.06), SECOND)
    ax.set_yticks(range(len(choices)), [f"{c} preferred" if c != "tie" else c for c in choices], fontsize=8.5)
    ax.set_ylim(len(choices) - 0.5, -0.5)
    ax.set_xlim(-0.02, 1.02)
    _plain(ax, "Preferred, share of answers (hollow: published)")


def _spearmans(ax: "Axes", rows: pl.DataFrame) -> None:
    names = [name for name in METRICS if name in set(rows["subject"]) or f"{name} (paper)" in set(rows["subject"])]
    for at, name in enumerate(names):
        for subject in (name, f"{name} (paper)"):
            for row in rows.filter(subject=subject).iter_rows(named=True):
                _point(ax, row, at + (0.2 if row["status"] == "published" else -0.08), SECOND)
    ax.set_yticks(range(len(names)), names, fontsize=8.5)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.axvline(0, color=MUTED, linewidth=0.8)
    ax.set_xlim(-1.02, 1.02)
    _plain(ax, "Spearman with the readers' mean (hollow: published)")


def _point(ax: "Axes", row: dict[str, Any], y: float, colour: str, label: str = "") -> None:
    if row["low"] is not None and row["high"] is not None:
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.6)
    face = "white" if row["status"] == "published" else colour
    ax.plot([row["value"]], [y], "o", markersize=5, color=colour, markerfacecolor=face, label=label or None)


def _plain(ax: "Axes", title: str) -> None:
    ax.set_title(title, fontsize=9.5, color=INK, loc="left")
    ax.tick_params(axis="x", labelsize=7.5)
    ax.grid(axis="x", color="#eceef1", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
