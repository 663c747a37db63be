"""Whether the posteriors of accepted locations hold: what they claim against what reviewers said, as a figure."""

import duckdb
import numpy as np
import polars as pl

from pipelines.catalog.build import SQL_DIR
from pipelines.imaging.figure_base import INK, MUTED, SECOND, new_figure, png_bytes
from pipelines.tables.statistics import wilson_interval


def reliability(localisations: pl.DataFrame, reviews: pl.DataFrame) -> pl.DataFrame:
    """The answer of the query `reliability`: a row a kind of evidence and bin of posterior.

    Args:
        localisations: table `lesions`.
        reviews: table `reviews`.
    """
    with duckdb.connect() as con:
        con.register("lesions", localisations.filter(pl.col("outcome") == "lesion").to_arrow())
        con.register("reviews", reviews.to_arrow())
        return con.sql((SQL_DIR / "queries" / "reliability.sql").read_text()).pl()


def reliability_figure(table: pl.DataFrame) -> bytes | None:
    """PNG of the part of right locations that is claimed and the part that reviewers found right, with its Wilson
    interval of 95 % and the number of answers; null where no location was answered."""
    answered = table.filter(pl.col("n_answers") > 0)
    if answered.is_empty():
        return None
    figure = new_figure(6.4, 0.8 + 0.45 * answered.height, layout="constrained")
    axis = figure.add_subplot()
    at = np.arange(answered.height)[::-1]
    right, n = answered["right_part"].to_numpy(), answered["n_answers"].to_numpy()
    low, high = np.array([wilson_interval(round(p * k), int(k)) for p, k in zip(right, n)]).T
    axis.hlines(at, low, high, color=SECOND, linewidth=2)
    axis.plot(right, at, "o", color=SECOND, label="right by reviewers, 95 % interval")
    axis.plot(answered["claimed"].to_numpy(), at, "|", color=INK, markersize=16, label="claimed")
    names = [f"{e}, {p} ({k})" for e, p, k in answered.select("evidence", "posterior", "n_answers").iter_rows()]
    axis.set_yticks(at, names)
    axis.set_ylim(-0.6, answered.height - 0.4)
    axis.set_xlim(min(0.5, float(low.min())), 1.005)
    axis.set_xlabel("part of the locations that is right (answers)")
    axis.grid(axis="x", color=MUTED, alpha=0.3)
    axis.legend(loc="lower left", fontsize=8)
    return png_bytes(figure)
