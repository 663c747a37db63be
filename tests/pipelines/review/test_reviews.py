"""Reviews read back from files as reviewers leave them: twice, edited by hand, of another curation."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.review.finding_rows import finding_fingerprint, finding_rows
from pipelines.review.reviews import ReviewsRead, read_reviews, summarise, to_review_again
from pipelines.tables import schemas
from pipelines.tables.statistics import wilson_interval

HEADER = "finding_id,reviewer,answer,note,curation,seen,answered_at\r\n"


def tables(**changed: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Findings and localisations of four findings, of which three are lesions; E1:aa with the values given."""
    text = {"sentence": "x", "slice": 10, "suvmax_reported": 8.0, "outcome": "accepted", "organ": "lung"}
    image = {"outcome": "lesion", "mtv_ml": 3.0, "suvmax": 8.0, "peak_i": 4}
    found, located = [], []
    for finding_id in ("E1:aa", "E1:bb", "E2:cc", "E2:dd"):
        new = changed if finding_id == "E1:aa" else {}
        keys = {"finding_id": finding_id, "exam_id": finding_id[:2], "row_key": new.get("row_key", "k")}
        found.append(keys | text | {k: v for k, v in new.items() if k in text})
        if finding_id != "E2:dd":
            located.append(keys | image | {k: v for k, v in new.items() if k in image})
    return pl.DataFrame(found), pl.DataFrame(located)


def seen(finding_id: str = "E1:aa", **changed: Any) -> str:
    found, located = tables(**changed)
    rows = finding_rows(located, found)
    return finding_fingerprint(rows.row(by_predicate=pl.col("finding_id") == finding_id, named=True))


def read(source: Path, **changed: Any) -> ReviewsRead:
    return read_reviews(source, *tables(**changed), "cur1")


def line(
    finding: str,
    answer: str,
    reviewer: str = "AB",
    note: str = "",
    at: str = "2026-01-02T10:00:00Z",
    curation: str = "cur1",
    of: str = "",
) -> str:
    return f"{finding},{reviewer},{answer},{note},{curation},{of},{at}\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, name: str, *lines: str, header: str = HEADER) -> Path:
    path = folder / name
    path.write_bytes((header + "".join(lines)).encode())
    return path


class TestReadReviews:
    def test_answers_come_as_rows_of_the_table(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept"), line("E2:cc", "wrong contour", note='"too large, leaks"'))
        found = read(folder)
        assert found.problems == ()
        assert found.frame.rows() == [
            ("E1:aa", "AB", "accept", None, None, "cur1", None, False),
            ("E2:cc", "AB", "wrong contour", None, "too large, leaks", "cur1", None, False),
        ]
        assert schemas.validate("reviews", found.frame)[1].is_empty()

    def test_the_same_file_twice_counts_once(self, folder):
        for name in ("a.csv", "copy of a.csv"):
            write(folder, name, line("E1:aa", "accept"), line("E1:bb", "unsure"))
        found = read(folder)
        assert (found.frame.height, found.n_repeated, found.problems) == (2, 2, ())

    def test_a_later_answer_replaces_an_earlier_one_whatever_the_order_of_the_files(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept", at="2026-01-03T00:00:00Z"))
        write(folder, "b.csv", line("E1:aa", "unsure", at="2026-01-02T00:00:00Z"))
        found = read(folder)
        assert found.frame["answer"].to_list() == ["accept"]
        assert found.n_outdated == 1

    def test_two_answers_with_no_time_between_them_are_named_and_neither_is_taken(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept", at=""), line("E1:bb", "accept"))
        write(folder, "b.csv", line("E1:aa", "wrong lesion", at=""))
        found = read(folder)
        assert found.frame["finding_id"].to_list() == ["E1:bb"]
        assert "b.csv, line 2" in str(found.problems[0])
        assert "delete one of the two lines" in str(found.problems[0])

    def test_two_reviewers_are_two_rows(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept"), line("E1:aa", "unsure", reviewer="CD"))
        assert read(folder).frame.height == 2

    def test_an_unknown_finding_is_named_with_its_line_and_the_rest_is_taken(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept"), line("E9:zz", "accept"), line("E1:bb", "accept"))
        found = read(folder)
        assert found.frame.height == 2
        assert str(found.problems[0]).startswith("a.csv, line 3: expected a finding of this curation, got 'E9:zz'")

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ("E1:aa,AB,fine,,cur1,,\r\n", "got 'fine'"),
            ("E1:aa,,accept,,cur1,,\r\n", "expected a reviewer"),
            ("E1:aa,AB,accept,too large, leaks,cur1,,\r\n", "more values than the header"),
        ],
    )
    def test_a_line_spoiled_by_hand_is_named(self, folder, bad, said):
        write(folder, "a.csv", bad, line("E1:bb", "accept"))
        found = read(folder)
        assert found.frame["finding_id"].to_list() == ["E1:bb"]
        assert said in str(found.problems[0])

    def test_a_spreadsheets_semicolons_capitals_and_mark_are_understood(self, folder):
        path = folder / "a.csv"
        path.write_bytes(b"\xef\xbb\xbfFinding_ID;Reviewer;Answer;Note\r\nE1:aa;AB;Wrong  Contour;a, b\r\n")
        assert read(folder).frame.rows() == [("E1:aa", "AB", "wrong contour", None, "a, b", None, None, False)]

    def test_a_file_of_another_kind_is_named(self, folder):
        write(folder, "a.csv", header="exam,patient\r\n")
        (folder / "b.csv").write_bytes(b"finding_id,reviewer,answer,note\r\nE1:aa,M\xfcller,accept,\r\n")
        said = [str(p) for p in read(folder).problems]
        assert "finding_id, reviewer, answer missing" in said[0]
        assert "another encoding" in said[1]

    def test_no_file_is_no_review(self, folder):
        assert read(folder).frame.is_empty()

    def test_files_are_left_as_they_are(self, folder):
        path = write(folder, "a.csv", line("E9:zz", "accept"))
        before = path.read_bytes()
        read(folder)
        assert path.read_bytes() == before


class TestStaleAnswers:
    def test_an_answer_holds_while_the_contour_is_as_it_was_seen(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept", curation="cur0", of=seen()))
        found = read(folder, row_key="made by another version of the code")
        assert found.frame["is_stale"].to_list() == [False]

    @pytest.mark.parametrize("change", [{"mtv_ml": 3.5}, {"peak_i": 5}, {"slice": 11}, {"outcome": "not in the image"}])
    def test_a_finding_made_anew_makes_it_stale_and_keeps_it(self, folder, change):
        write(folder, "a.csv", line("E1:aa", "wrong contour", note="too small", curation="cur0", of=seen()))
        found = read(folder, **change)
        assert found.frame.select("answer", "note", "is_stale").rows() == [("wrong contour", "too small", True)]
        assert found.problems == ()

    @pytest.mark.parametrize(("answer", "is_stale"), [("accept", False), ("wrong text", True)])
    def test_another_organ_is_another_text_and_the_same_contour(self, folder, answer, is_stale):
        write(folder, "a.csv", line("E1:aa", answer, curation="cur0", of=seen()))
        assert read(folder, organ="liver").frame["is_stale"].to_list() == [is_stale]

    def test_the_last_digits_of_a_measure_are_not_seen(self):
        assert seen(mtv_ml=3.0000001) == seen()

    @pytest.mark.parametrize(("curation", "is_stale"), [("cur0", True), ("cur1", False), ("", False)])
    def test_a_line_written_by_hand_is_of_the_curation_that_it_names(self, folder, curation, is_stale):
        write(folder, "a.csv", line("E1:aa", "accept", curation=curation))
        assert read(folder).frame["is_stale"].to_list() == [is_stale]

    def test_an_answer_to_the_finding_as_it_is_goes_before_a_later_one_to_another(self, folder):
        """A threshold was changed and changed back: what was said first holds again."""
        now = line("E1:aa", "accept", at="2026-01-01", of=seen())
        write(folder, "a.csv", now, line("E1:aa", "wrong contour", at="2026-01-02", of=seen(mtv_ml=9.0)))
        found = read(folder)
        assert found.frame.select("answer", "is_stale").rows() == [("accept", False)]
        assert found.problems == ()

    def test_stale_answers_are_not_counted_and_are_listed(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept", of=seen()), line("E1:bb", "accept", of=seen("E1:bb")))
        tables_now = tables(mtv_ml=9.0)
        summary = summarise(read(folder, mtv_ml=9.0).frame, finding_rows(tables_now[1], tables_now[0]))
        assert (summary.location.n_right, summary.location.n, summary.n_stale) == (1, 1, 1)
        assert summary.to_fix.select("finding_id", "todo", "answer").rows() == [("E1:aa", "review again", "accept")]

    def test_who_judged_it_as_it_is_spares_the_others(self, folder):
        stale = line("E1:aa", "wrong contour", of=seen(mtv_ml=9.0))
        write(folder, "a.csv", stale)
        said = {"reviewer": "AB", "answer": "wrong contour", "note": None}
        assert to_review_again(read(folder).frame) == {"E1:aa": [said]}
        write(folder, "b.csv", line("E1:aa", "accept", reviewer="CD", of=seen()))
        assert to_review_again(read(folder).frame) == {}


FINDINGS = pl.DataFrame(
    {
        "finding_id": ["E1:aa", "E1:bb", "E2:cc", "E2:dd"],
        "exam_id": ["E1", "E1", "E2", "E2"],
        "outcome": ["lesion", "lesion", "lesion", "not in the image"],
    }
)


def reviews(*rows: tuple[str, str, str]) -> pl.DataFrame:
    names = ("finding_id", "reviewer", "answer")
    return schemas.frame(
        "reviews", [{**dict(zip(names, r)), "note": None, "curation": None, "is_stale": False} for r in rows]
    )


class TestSummarise:
    def test_a_wrong_contour_lies_on_the_right_lesion(self):
        summary = summarise(
            reviews(("E1:aa", "A", "accept"), ("E1:bb", "A", "wrong contour"), ("E2:cc", "A", "wrong lesion")), FINDINGS
        )
        assert (summary.location.n_right, summary.location.n) == (2, 3)
        assert (summary.contour.n_right, summary.contour.n) == (1, 2)
        assert (summary.location.low, summary.location.high) == wilson_interval(2, 3)

    def test_a_misread_sentence_is_not_located(self):
        assert summarise(reviews(("E1:aa", "A", "wrong text")), FINDINGS).location.share == 0.0

    def test_unsure_is_not_counted(self):
        location = summarise(reviews(("E1:aa", "A", "unsure"), ("E1:bb", "A", "accept")), FINDINGS).location
        assert (location.n, location.n_unsure) == (1, 1)

    def test_reviewers_vote_and_a_tie_is_set_aside(self):
        summary = summarise(
            reviews(
                ("E1:aa", "A", "accept"),
                ("E1:aa", "B", "accept"),
                ("E1:aa", "C", "wrong lesion"),
                ("E1:bb", "A", "accept"),
                ("E1:bb", "B", "wrong lesion"),
            ),
            FINDINGS,
        )
        assert (summary.location.n_right, summary.location.n, summary.location.n_split) == (1, 1, 1)

    def test_a_rejection_is_judged_on_its_own(self):
        summary = summarise(reviews(("E2:dd", "A", "wrong text")), FINDINGS)
        assert (summary.rejection.n_right, summary.rejection.n) == (0, 1)
        assert summary.location.share is None

    def test_what_is_to_be_mended_is_listed(self):
        summary = summarise(
            reviews(("E1:aa", "A", "accept"), ("E1:bb", "A", "wrong contour"), ("E2:cc", "A", "unsure")), FINDINGS
        )
        assert summary.to_fix.select("finding_id", "exam_id", "todo", "answer").rows() == [
            ("E1:bb", "E1", "fix", "wrong contour")
        ]

    def test_nothing_reviewed_is_said_not_scored(self):
        assert str(summarise(reviews(), FINDINGS).location) == "not judged yet"


def test_in_a_private_home_notes_and_problems_name_nobody(folder: Path) -> None:
    write(
        folder,
        "Zebrowski.csv",
        line("E1:aa", "wrong text", note="told Dr. Robichaud on 03/14/2023"),
        line("PLAIN-77:aa", "accept"),
        line("E1:bb", "lenoir"),
    )
    read = read_reviews(folder, *tables(), "cur1", is_private=True)
    assert read.frame["note"].item().startswith("told Dr. X")
    assert [problem.file for problem in read.problems] == ["file 1", "file 1"]
    shown = f"{read.frame.to_dicts()} {[str(problem) for problem in read.problems]}".lower()
    assert [word for word in ("zebrowski", "robichaud", "03/14", "plain-77", "lenoir") if word in shown] == []


@pytest.mark.parametrize(
    ("typed", "kept"), [("left Liver", "left Liver"), ("Robichaud", "Xxxxxxxxx"), ("thymoma 4711", "thymoma 0000")]
)
def test_in_a_private_home_an_organ_keeps_words_of_the_body_alone(folder: Path, typed: str, kept: str) -> None:
    (folder / "a.csv").write_text(f"finding_id,reviewer,answer,value\nE1:4-5-6,AB,physiologic,{typed}\n")
    assert read_reviews(folder, *tables(), "cur1", is_private=True).frame["value"].item() == kept
    assert read_reviews(folder, *tables(), "cur1").frame["value"].item() == typed
