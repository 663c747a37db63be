"""Corrections that reviewers made in the pages, read from the files that they saved."""

from pathlib import Path

import pytest

from pipelines.cohort.review_corrections import review_corrections

HEADER = "finding_id,reviewer,answer,note,curation,seen,answered_at,value\n"
JOIN = "E1:0000abcd,AB,join,,cur1,,2026-01-02T10:00:00Z,10 20 30\n"


def test_a_click_is_a_correction_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + JOIN)
    (one,) = review_corrections(tmp_path)
    assert (one.finding_id, one.field, one.value, one.who) == ("E1:0000abcd", "join", "10 20 30", "AB")


@pytest.mark.parametrize("rest", ['"open quote, and no end', "E1:0000abcd,AB"], ids=["open quote", "cut short"])
def test_a_file_that_is_cut_short_gives_none_and_stops_nothing(tmp_path: Path, rest: str) -> None:
    (tmp_path / "a.csv").write_text(HEADER + JOIN)
    (tmp_path / "b.csv").write_text(HEADER + JOIN + rest)
    assert len(review_corrections(tmp_path)) == 1
