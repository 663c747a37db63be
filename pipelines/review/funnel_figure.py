"""The figure of the attrition from exams to lesions."""

import polars as pl

from pipelines.imaging.figure_base import INK, SECOND, new_figure, png_bytes, require_columns

_PARTS = ("findings by what the text gives", "lesions: what they are", "sentences by language")
"""Rows that say what a step is made of; of all others with a reason, that is why they are left out."""
_PART, _LEFT_OUT = "#9cc6dd", "#c9ccd1"


def funnel_figure(counts: pl.DataFrame) -> bytes:
    """PNG of the attrition: a bar for every remaining step, and under it the reasons of rejection.

    `counts` has the columns `what`, `reason` (null for a step that is left) and `n`, in order, as the query `funnel`
    gives them. Exams, sentences and findings are counted in units of their own, so each has a scale of its own.
    """
    require_columns(counts, ("what", "reason", "n"))
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
        colour = SECOND if is_step else _PART if row["what"] in _PARTS else _LEFT_OUT
        ax.barh(y, share, height=0.72 if is_step else 0.5, color=colour)
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
    figure.text(
        0.02, 0.97, "From exams to lesions (grey: left out, and why; light blue: parts of the step above)",
        fontsize=10, color=INK, va="top",
    )  # fmt: skip
    return png_bytes(figure)


def _unit(what: str) -> str:
    """What a step of the funnel counts."""
    return "exam" if "exam" in what else "sentence" if "sentence" in what else "finding"
