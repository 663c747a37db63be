"""The curve of scores against mask quality. No torch."""

import polars as pl

from pipelines.imaging.figure_base import INK, MUTED, SECOND, new_figure, png_bytes

_STYLES = {"edge": ("edge moved in (< 0) or out", SECOND), "shift": ("mask shifted", "#a86400")}
_COLUMNS = 4


def robustness_figure(table: pl.DataFrame) -> bytes:
    """PNG of the table `robustness`: a panel a metric; scores with intervals against how far edge or mask were moved.

    The grey band is the interval with the lesion's own mask, the red one what another lesion's mask leaves.
    """
    metrics = list(dict.fromkeys(table["metric"]))
    panels = max(1, len(metrics))
    rows = -(-panels // _COLUMNS)
    figure = new_figure(3.1 * min(panels, _COLUMNS), 2.6 * rows + 0.4, layout="constrained")
    for n, metric in enumerate(metrics):
        ax = figure.add_subplot(rows, min(panels, _COLUMNS), n + 1)
        own = table.filter(metric=metric)
        for change, colour in (("none", MUTED), ("another lesion", "#c2183c")):
            for row in own.filter(pl.col("change") == change, pl.col("value").is_not_null()).iter_rows(named=True):
                if row["low"] is not None:
                    ax.axhspan(row["low"], row["high"], color=colour, alpha=0.13, linewidth=0)
                label = "own mask" if change == "none" else "another lesion's mask"
                ax.axhline(row["value"], color=colour, linewidth=1.1, label=label)
        for change, (label, colour) in _STYLES.items():
            found = own.filter(pl.col("change").is_in([change, "none"]), pl.col("value").is_not_null()).sort(
                "amount_mm"
            )
            if found.height < 2:
                continue
            ax.plot(found["amount_mm"], found["value"], "o-", color=colour, linewidth=1.4, markersize=3, label=label)
            there = found.drop_nulls(["low", "high"])
            ax.vlines(there["amount_mm"], there["low"], there["high"], color=colour, linewidth=0.8, alpha=0.6)
        ax.set_title(metric, fontsize=9, color=INK, loc="left")
        ax.set_xlabel("moved by (mm)", fontsize=7.5)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#eceef1", linewidth=0.7)
        ax.set_axisbelow(True)
        if n == 0:
            figure.legend(
                *ax.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7.5, frameon=False
            )
    return png_bytes(figure)
