"""Reliability of accepted locations: its table from the tables of a home, and its figure."""

import polars as pl

from pipelines.review.reliability import reliability, reliability_figure

LESIONS = pl.DataFrame(
    {
        "finding_id": ["a", "b", "c", "d"],
        "outcome": ["lesion", "lesion", "lesion", "ambiguous"],
        "evidence": ["slice+SUV"] * 4,
        "posterior": [0.999, 0.999, 0.96, 0.999],
    }
)


def reviews(*answers: tuple[str, str]) -> pl.DataFrame:
    rows = [{"finding_id": f, "answer": a, "is_stale": False} for f, a in answers]
    return pl.DataFrame(rows, schema={"finding_id": pl.String, "answer": pl.String, "is_stale": pl.Boolean})


class TestReliability:
    def test_counts_lesions_alone(self) -> None:
        table = reliability(LESIONS, reviews(("a", "accept"), ("b", "wrong lesion"), ("d", "accept")))
        assert table["n_accepted"].to_list() == [1, 2]
        assert table["right_part"].to_list() == [None, 0.5]

    def test_figure_is_a_picture(self) -> None:
        made = reliability_figure(reliability(LESIONS, reviews(("a", "accept"), ("c", "accept"))))
        assert made is not None
        assert made.startswith(b"\x89PNG")

    def test_without_answers_there_is_no_figure(self) -> None:
        assert reliability_figure(reliability(LESIONS, reviews())) is None
