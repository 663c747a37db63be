"""Parts of the table `predictions`: kept while nothing below them changed, never mixed with older samples."""

from pathlib import Path

import polars as pl
import pytest

from model.evaluation.predictions import collect_predictions, drop_part, held_out_findings, update_part
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


def sample(n: int, target: str = "reference") -> dict[str, object]:
    keys = {"sample_id": f"E{n}:a", "finding_id": f"E{n}:a", "exam_id": f"E{n}", "patient_id": f"P{n}"}
    return keys | {
        **{"kind": "finding", "split": "test", "question": "?", "target": target},
        **{"mask_label": 1, "suv_path": "s", "mask_path": "m"},
    }


def texts(model: str, *said: str | None) -> pl.DataFrame:
    rows = [
        {"finding_id": f"E{n}:a", "exam_id": f"E{n}", "patient_id": f"P{n}", "split": "test", "model": model}
        | {"text": words, "reference": "reference", "error": None if words else "no answer"}
        for n, words in enumerate(said)
    ]
    return schemas.frame("predictions", rows)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    Lake(home.lake).write_table("samples", schemas.frame("samples", [sample(n) for n in range(2)]))
    return home


class TestUpdatePart:
    def test_makes_once_while_nothing_changed(self, home: Home) -> None:
        first = update_part(home, "a", {"weights": 1}, lambda: texts("a", "x", "y"))
        again = update_part(home, "a", {"weights": 1}, lambda: pytest.fail("made again"))
        assert (first.recomputed, again.recomputed, again.reused) == (2, 0, 2)
        assert again.version == first.version

    def test_makes_again_when_its_source_or_the_samples_changed(self, home: Home) -> None:
        update_part(home, "a", {"weights": 1}, lambda: texts("a", "x", "y"))
        assert update_part(home, "a", {"weights": 2}, lambda: texts("a", "x", "z")).recomputed == 2
        Lake(home.lake).write_table("samples", schemas.frame("samples", [sample(0)]))
        assert update_part(home, "a", {"weights": 2}, lambda: texts("a", "x")).recomputed == 1

    def test_asks_again_for_what_failed_where_that_helps(self, home: Home) -> None:
        update_part(home, "a", {}, lambda: texts("a", "x", None), retry_failed=True)
        assert update_part(home, "a", {}, lambda: texts("a", "x", "y"), retry_failed=True).recomputed == 2
        assert update_part(home, "a", {}, lambda: pytest.fail("made again"), retry_failed=True).reused == 2

    def test_a_failing_maker_leaves_the_part_as_it_was(self, home: Home) -> None:
        update_part(home, "a", {"weights": 1}, lambda: texts("a", "x", "y"))
        with pytest.raises(ZeroDivisionError):
            update_part(home, "a", {"weights": 2}, lambda: texts("a", str(1 / 0)))
        assert collect_predictions(home).frame["text"].to_list() == ["x", "y"]


class TestCollectPredictions:
    def test_puts_all_parts_together(self, home: Home) -> None:
        update_part(home, "a", {}, lambda: texts("m", "x", "y"))
        update_part(home, "b", {}, lambda: texts("n", "z", None))
        report = collect_predictions(home)
        assert report.frame.select("model", "text").rows() == [("m", "x"), ("n", "z"), ("m", "y"), ("n", None)]
        assert collect_predictions(home).recomputed == 0

    def test_names_a_part_of_other_samples_and_leaves_it_out(self, home: Home) -> None:
        update_part(home, "a", {}, lambda: texts("m", "x", "y"))
        changed = [sample(0), sample(1, "another reference")]
        Lake(home.lake).write_table("samples", schemas.frame("samples", changed))
        report = collect_predictions(home)
        assert report.frame.is_empty()
        assert report.problems == ["a: made from other samples than those of now: materialise it again"]

    def test_two_sources_of_one_name_are_told_apart(self, home: Home) -> None:
        update_part(home, "a", {}, lambda: texts("m", "x", "y"))
        update_part(home, "b", {}, lambda: texts("m", "v", "w"))
        report = collect_predictions(home)
        assert sorted(set(report.frame["model"])) == ["m", "m (b)"]
        assert report.frame.height == 4

    def test_problems_of_the_parts_are_told(self, home: Home) -> None:
        update_part(home, "a", {}, lambda: (texts("m", "x"), ["a.csv: 1 row left out"]))
        assert collect_predictions(home).problems == ["a.csv: 1 row left out"]

    def test_a_dropped_part_is_gone(self, home: Home) -> None:
        update_part(home, "a", {}, lambda: texts("m", "x", "y"))
        drop_part(home, "a")
        assert collect_predictions(home).frame.is_empty()


class TestHeldOutFindings:
    def test_nothing_held_out_says_what_to_do(self, home: Home) -> None:
        Lake(home.lake).write_table("samples", schemas.frame("samples", [sample(0) | {"split": "train"}]))
        with pytest.raises(ValueError, match="give these splits a larger share"):
            held_out_findings(home)
