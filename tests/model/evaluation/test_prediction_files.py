"""Predictions from files: taken lesion by lesion, and everything that does not fit told."""

import json
from pathlib import Path

import polars as pl
import pytest

from model.evaluation.prediction_files import prediction_files, read_predictions
from pipelines.tables import schemas


@pytest.fixture
def held_out() -> pl.DataFrame:
    rows = [
        {
            **{"sample_id": f"E{n}:a", "finding_id": f"E{n}:a", "exam_id": f"E{n}", "patient_id": f"P{n}"},
            **{"kind": "finding", "split": "test", "question": "?", "target": f"reference {n}", "mask_label": 1},
            **{"suv_path": "s", "mask_path": "m", "suvmax": 7.5, "slice": 40 + n},
        }
        for n in range(3)
    ]
    return schemas.frame("samples", rows)


def write(path: Path, *rows: tuple[str, str]) -> Path:
    pl.DataFrame(rows, schema=["finding_id", "text"], orient="row").write_csv(path)
    return path


class TestReadPredictions:
    def test_takes_a_text_a_lesion_and_measures_its_numbers(self, tmp_path: Path, held_out: pl.DataFrame) -> None:
        path = write(tmp_path / "ours.csv", *((f"E{n}:a", f"Node {n}, SUVmax 2.0") for n in range(3)))
        read = read_predictions(path, held_out)
        assert read.problems == ()
        row = read.frame.row(1, named=True)
        assert (row["model"], row["text"], row["reference"]) == ("ours", "Node 1, SUVmax 2.0", "reference 1")
        assert row["text_measured"] == "Node 1, SUVmax 7.5"

    def test_missing_lesion_has_a_row_with_its_reason(self, tmp_path: Path, held_out: pl.DataFrame) -> None:
        read = read_predictions(write(tmp_path / "a.csv", ("E0:a", "x"), ("E1:a", "y")), held_out)
        assert read.frame.filter(finding_id="E2:a")["error"][0].startswith("no prediction: a.csv")
        assert read.problems == ("a.csv, a: 1 of 3 lesions: no prediction",)

    def test_two_texts_for_a_lesion_are_both_kept_out(self, tmp_path: Path, held_out: pl.DataFrame) -> None:
        path = write(tmp_path / "a.csv", ("E0:a", "x"), ("E0:a", "z"), ("E1:a", "y"), ("E2:a", "y"))
        row = read_predictions(path, held_out).frame.filter(finding_id="E0:a").row(0, named=True)
        assert (row["text"], row["error"]) == (None, "two predictions: a.csv, lines 2, 3, differ; delete all but one")

    def test_the_same_text_twice_is_one(self, tmp_path: Path, held_out: pl.DataFrame) -> None:
        path = write(tmp_path / "a.csv", ("E0:a", "x"), ("E0:a", "x"), ("E1:a", "y"), ("E2:a", "y"))
        assert read_predictions(path, held_out).frame["text"].to_list() == ["x", "y", "y"]

    def test_unknown_lesion_is_named_with_its_line(self, tmp_path: Path, held_out: pl.DataFrame) -> None:
        path = write(tmp_path / "a.csv", *((f"E{n}:a", "x") for n in range(3)), ("E9:z", "x"))
        read = read_predictions(path, held_out)
        assert read.frame.height == 3
        assert "1 rows of lesions that are not held out here (E9:z (line 5))" in read.problems[0]

    def test_empty_text_is_told(self, tmp_path: Path, held_out: pl.DataFrame) -> None:
        path = write(tmp_path / "a.csv", ("E0:a", " "), ("E1:a", "y"), ("E2:a", "y"))
        assert read_predictions(path, held_out).frame["error"][0] == "empty prediction: a.csv, line 2"

    def test_a_file_may_hold_several_models_and_their_errors(self, tmp_path: Path, held_out: pl.DataFrame) -> None:
        lines = [{"finding_id": f"E{n}:a", "text": "x", "model": m} for m in ("A", "B") for n in range(3)]
        lines[5] |= {"text": "", "error": "out of memory"}
        path = tmp_path / "two.jsonl"
        path.write_text("\n".join(json.dumps(line) for line in lines))
        read = read_predictions(path, held_out)
        assert read.frame.select("model", "error").rows()[-1] == ("B", "out of memory")
        assert read.frame["text"].null_count() == 1

    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("a.csv", b"lesion,words\n1,2\n", "expected the columns finding_id and text"),
            ("a.parquet", b"no parquet", "cannot be read"),
            ("a.jsonl", b"{broken", "cannot be read"),
            ("a.csv", b"", "cannot be read"),
        ],
    )
    def test_unusable_file_is_a_problem_and_no_row(
        self, tmp_path: Path, held_out: pl.DataFrame, name: str, content: bytes, told: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        read = read_predictions(tmp_path / name, held_out)
        assert read.frame.is_empty()
        assert told in read.problems[0]

    def test_rows_keep_the_contract(self, tmp_path: Path, held_out: pl.DataFrame) -> None:
        frame = read_predictions(write(tmp_path / "a.csv", ("E0:a", "x"), ("E1:a", "")), held_out).frame
        good, bad = schemas.validate("predictions", frame)
        assert (good.height, bad.height) == (3, 0)


class TestPredictionFiles:
    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        for name in ("b.csv", "a.jsonl", "notes.txt"):
            (tmp_path / name).write_text("")
        assert [p.name for p in prediction_files(tmp_path)] == ["a.jsonl", "b.csv"]
        assert prediction_files(tmp_path / "nowhere") == []
