"""The gate before a publication, over what became of the exams of each stage."""

from pathlib import Path

import pytest

from pipelines.curation.gate import Outcomes, forget_outcomes, note_outcomes, read_outcomes, refusal
from pipelines.tables.home import Home

A, B = "ValueError at pipelines.x:1", "KeyError at pipelines.y:2"


def exams(*messages: str | None) -> dict[str, str | None]:
    return {f"E{n}": message for n, message in enumerate(messages)}


class TestRefusal:
    @pytest.mark.parametrize(
        "outcomes",
        [
            {},
            {"exams": {}},
            {"exams": exams(None)},
            {"exams": exams(A, None)},
            {"exams": exams(A, A, B, B, None)},
            {"exams": exams(A, A, None, None), "lesions": exams(A, None)},
        ],
    )
    def test_is_none_where_at_most_half_failed_with_one_message(self, outcomes: Outcomes) -> None:
        assert refusal(outcomes) is None

    @pytest.mark.parametrize(
        ("outcomes", "said"),
        [
            ({"exams": exams(A)}, "1 of 1 computed exams failed in `exams`, 1 with ValueError at pipelines.x:1"),
            ({"exams": exams(A, B)}, "2 of 2"),
            ({"exams": exams(A, A, A, None, None)}, "3 of 5"),
            ({"exams": exams(None, None, None), "findings": exams(B, B, None)}, "2 of 3 computed exams failed in `fin"),
        ],
    )
    def test_says_how_many_where_and_with_which_message(self, outcomes: Outcomes, said: str) -> None:
        reason = refusal(outcomes)
        assert reason is not None
        assert said in reason
        assert "exam E0" in reason


class TestNotes:
    def test_of_a_later_computation_replace_those_of_an_earlier_one(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        note_outcomes(home, "exams", 7, exams(A, A, A), ())
        note_outcomes(home, "exams", 7, {"E0": None}, ["E0", "E1"])
        assert read_outcomes(home) == {7: {"exams": {"E0": None, "E2": A}}}

    def test_are_forgotten_once_they_are_published_and_not_what_came_since(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        note_outcomes(home, "exams", 7, exams(None), ())
        note_outcomes(home, "exams", 8, exams(None), ())
        published = read_outcomes(home)
        note_outcomes(home, "lesions", 8, exams(A), ())
        forget_outcomes(home, published)
        assert read_outcomes(home) == {8: {"exams": {"E0": None}, "lesions": {"E0": A}}}
