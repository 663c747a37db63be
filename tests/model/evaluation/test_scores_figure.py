"""The figure of the scores, by its pixels."""

import polars as pl
import pytest

from model.evaluation.scores_figure import scores_figure
from tests.support.png import of_colour, pixels


def scores(rows: list[tuple]) -> pl.DataFrame:
    schema = {
        "model": pl.String,
        "split": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "status": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


class TestScoresFigure:
    def test_what_was_not_computed_is_not_drawn_as_zero(self):
        computed = scores([("petar", "test", "BLEU", 0.4, 0.3, 0.5, "computed")])
        missing = scores([("petar", "test", "BLEU", None, None, None, "not computed")])
        assert len(of_colour(pixels(scores_figure(computed)), "#0b6fa4")) > 50
        assert len(of_colour(pixels(scores_figure(missing)), "#0b6fa4")) == 0

    def test_names_are_whole(self):
        rows = [("a model with a very long name, finetuned", "test of a set", "BLEU", 0.4, 0.3, 0.5, "computed")]
        assert (pixels(scores_figure(scores(rows)))[:, :3] == 255).all()

    def test_published_models_have_no_line_where_no_metric_was_published(self):
        ours = [("petar", "test", metric, 0.4, 0.3, 0.5, "computed") for metric in ("organ", "BLEU")]
        with_paper = [*ours, *((f"paper {n}", "test", "BLEU", 0.5, None, None, "published") for n in range(9))]
        alone, beside = (pixels(scores_figure(scores(rows))).shape[0] for rows in (ours, with_paper))
        assert alone * 2 < beside < alone * 4

    def test_no_scores_at_all_is_drawn(self):
        assert pixels(scores_figure(scores([]))).shape[2] == 3

    def test_a_missing_column_is_named(self):
        with pytest.raises(ValueError, match="status"):
            scores_figure(scores([]).drop("status"))
