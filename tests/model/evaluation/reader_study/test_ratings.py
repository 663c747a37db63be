"""Ratings read back: each taken for who wrote the text, and everything that does not fit named and kept out."""

from pathlib import Path

import polars as pl
import pytest

from model.evaluation.reader_study.cases import REPORT, Study
from model.evaluation.reader_study.ratings import COLUMNS, read_ratings
from pipelines.tables import schemas


def line(given: Study, n: int, rater: str = "Two", **changes: str) -> dict[str, str]:
    values = dict(zip(COLUMNS[3:9], "345123", strict=True))
    if given.cases[n].report is None:
        values = dict.fromkeys(COLUMNS[3:9], "") | dict(zip(COLUMNS[3:6], "345", strict=True))
    keys = {"study": given.study_id, "reader": rater, "case_id": given.cases[n].case_id}
    preference = "" if given.cases[n].report is None else "A"
    made = keys | values | {"preference": preference, "comment": "", "answered_at": "2026-01-01T10:00:00Z"}
    return made | changes


def write(folder: Path, *lines: dict[str, str], name: str = "ratings.csv") -> Path:
    pl.DataFrame(lines, schema=dict.fromkeys(COLUMNS, pl.String)).write_csv(folder / name)
    return folder


class TestReadRatings:
    def test_gives_a_text_its_author(self, study: Study, tmp_path: Path) -> None:
        read = read_ratings(write(tmp_path, line(study, 0)), study)
        authors = study.authors("Two", study.cases[0])
        found = {r["author"]: (r["anatomy"], r["interpretation"], r["utility"]) for r in read.frame.to_dicts()}
        assert found == {authors["A"]: (3, 4, 5), authors["B"]: (1, 2, 3)}
        preferred = "report" if authors["A"] == REPORT else "model"
        assert set(read.frame["preference"]) == {preferred}
        assert read.problems == ()

    def test_rows_keep_the_contract(self, study: Study, tmp_path: Path) -> None:
        lines = [line(study, n, reader) for n in range(12) for reader in study.readers]
        good, bad = schemas.validate("ratings", read_ratings(write(tmp_path, *lines), study).frame)
        assert (good.height, bad.height) == (3 * (2 * 10 + 2), 0)

    @pytest.mark.parametrize("value", ["0", "6", "2.5", "good", "nan", "inf"])
    def test_value_outside_is_left_out_alone(self, study: Study, tmp_path: Path, value: str) -> None:
        read = read_ratings(write(tmp_path, line(study, 0, utility_a=value)), study)
        author = study.authors("Two", study.cases[0])["A"]
        row = read.frame.filter(author=author).row(0, named=True)
        assert (row["anatomy"], row["utility"]) == (3, None)
        assert read.n_values_left_out == 1
        assert "ratings.csv, line 2: case-00, utility_a: expected a whole number 1..5" in str(read.problems[0])

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"case_id": "case-99"}, "expected a case of the study, got 'case-99'"),
            ({"reader": "Four"}, "expected a reader of the study"),
            ({"study": "other"}, "put the file to its own study"),
        ],
    )
    def test_strange_line_is_named_and_the_rest_counts(
        self, study: Study, tmp_path: Path, change: dict[str, str], told: str
    ) -> None:
        read = read_ratings(write(tmp_path, line(study, 0, **change), line(study, 1)), study)
        assert (read.frame.height, read.n_lines_left_out) == (2, 1)
        assert told in read.problems[0].message
        assert read.problems[0].line == 2

    def test_same_line_twice_counts_once(self, study: Study, tmp_path: Path) -> None:
        read = read_ratings(write(tmp_path, line(study, 0), line(study, 0)), study)
        assert (read.frame.height, read.n_repeated) == (2, 1)

    def test_later_answer_stands_and_the_earlier_is_named(self, study: Study, tmp_path: Path) -> None:
        write(tmp_path, line(study, 0, answered_at="2026-01-02T10:00:00Z", anatomy_a="5"), name="b.csv")
        read = read_ratings(write(tmp_path, line(study, 0), name="a.csv"), study)
        assert read.frame.filter(author=study.authors("Two", study.cases[0])["A"])["anatomy"].to_list() == [5]
        assert read.n_replaced == 1
        assert str(read.problems[0]).startswith("a.csv, line 2: case-00 of Two: replaced by a later answer (b.csv")

    def test_two_answers_of_one_time_count_neither(self, study: Study, tmp_path: Path) -> None:
        read = read_ratings(write(tmp_path, line(study, 0), line(study, 0, anatomy_a="5"), line(study, 1)), study)
        assert (read.frame.height, read.n_lines_left_out) == (2, 2)
        assert "neither counts" in read.problems[0].message

    def test_unrated_cases_are_counted(self, study: Study, tmp_path: Path) -> None:
        assert read_ratings(write(tmp_path, line(study, 0)), study).n_unrated == 11

    def test_external_case_takes_no_preference(self, study: Study, tmp_path: Path) -> None:
        read = read_ratings(write(tmp_path, line(study, 11, preference="B", anatomy_b="3")), study)
        assert read.frame["preference"].to_list() == [None]
        assert read.n_values_left_out == 2

    def test_unusable_files_are_named(self, study: Study, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("case,grade\n1,2\n")
        (tmp_path / "b.csv").write_bytes("case_id,ä".encode("latin-1"))
        read = read_ratings(write(tmp_path, line(study, 0), name="c.csv"), study)
        assert [p.file for p in read.problems] == ["a.csv", "b.csv"]
        assert (read.n_files, read.frame.height) == (3, 2)

    def test_semicolons_of_a_spreadsheet(self, study: Study, tmp_path: Path) -> None:
        frame = pl.DataFrame([line(study, 0)], schema=dict.fromkeys(COLUMNS, pl.String))
        frame.write_csv(tmp_path / "a.csv", separator=";", include_bom=True)
        assert read_ratings(tmp_path, study).frame.height == 2

    def test_nothing_there(self, study: Study, tmp_path: Path) -> None:
        read = read_ratings(tmp_path / "none", study)
        assert (read.frame.height, read.n_files, read.n_unrated) == (0, 0, 0)
