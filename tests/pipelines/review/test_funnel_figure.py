"""The figure of the attrition, by its pixels."""

import numpy as np
import polars as pl
import pytest

from pipelines.review.funnel_figure import funnel_figure
from tests.support.png import of_colour, pixels

FUNNEL = pl.DataFrame(
    [
        ("exams", None, 24),
        ("exams with volume", None, 12),
        ("findings", None, 100),
        ("rejected", "several lesions", 50),
        ("lesions", None, 50),
    ],
    schema=["what", "reason", "n"],
    orient="row",
)


class TestFunnelFigure:
    def test_half_as_many_is_a_bar_half_as_long(self):
        image = pixels(funnel_figure(FUNNEL))
        blue = of_colour(image, "#0b6fa4")
        lengths = [np.ptp(blue[blue[:, 0] == row][:, 1]) + 1 for row in np.unique(blue[:, 0])]
        # Exams, exams with volume, findings and lesions: two full bars and two of half their length.
        assert max(lengths) == pytest.approx(2 * min(n for n in lengths if n > 20), abs=6)

    def test_what_a_step_is_made_of_is_not_drawn_as_left_out(self):
        parts = FUNNEL.with_columns(what=pl.col("what").replace("rejected", "findings by what the text gives"))
        left_out = len(of_colour(pixels(funnel_figure(FUNNEL)), "#c9ccd1"))
        assert left_out > 100
        assert len(of_colour(pixels(funnel_figure(parts)), "#c9ccd1")) < left_out / 2

    def test_a_missing_column_is_named(self):
        with pytest.raises(ValueError, match="reason"):
            funnel_figure(FUNNEL.drop("reason"))

    def test_a_cohort_of_nothing_is_drawn(self):
        assert pixels(funnel_figure(FUNNEL.with_columns(n=pl.lit(0)))).shape[2] == 3
