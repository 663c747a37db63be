"""Reviews read back from files as reviewers leave them: twice, edited by hand, of another curation."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import schemas
from pipelines.quality.reviews import read_reviews, summarise, wilson_interval

HEADER = "finding_id,reviewer,answer,note,curation,answered_at\r\n"
KNOWN = {"E1:aa", "E1:bb", "E2:cc", "E2:dd"}


def line(finding: str, answer: str, reviewer: str = "AB", note: str = "", at: str = "2026-01-02T10:00:00Z") -> str:
    return f"{finding},{reviewer},{answer},{note},cur1,{at}\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, name: str, *lines: str, header: str = HEADER) -> Path:
    path = folder / name
    path.write_bytes((header + "".join(lines)).encode())
    return path


class TestWilsonInterval:
    @pytest.mark.parametrize(
        ("n_right", "n", "low", "high"),
        [(98, 100, 0.9300, 0.9945), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
    )
    def test_known_intervals(self, n_right, n, low, high):
        """The last is the example of Newcombe 1998 (Statistics in Medicine 17, 857), method 3."""
        assert wilson_interval(n_right, n) == pytest.approx((low, high), abs=6e-5)

    def test_nothing_counted_is_no_knowledge(self):
        assert wilson_interval(0, 0) == (0.0, 1.0)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_it_holds_the_share_and_mirrors(self, counts):
        n_right, n = counts
        low, high = wilson_interval(n_right, n)
        assert 0 <= low <= n_right / n + 1e-12
        assert n_right / n - 1e-12 <= high <= 1
        mirrored = wilson_interval(n - n_right, n)
        assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))

    def test_more_right_than_there_are_is_refused(self):
        with pytest.raises(ValueError, match=r"0\.\.3"):
            wilson_interval(4, 3)


class TestReadReviews:
    def test_answers_come_as_rows_of_the_table(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept"), line("E2:cc", "wrong contour", note='"too large, leaks"'))
        read = read_reviews(folder, KNOWN)
        assert read.problems == ()
        assert read.frame.rows() == [
            ("E1:aa", "AB", "accept", None, "cur1"),
            ("E2:cc", "AB", "wrong contour", "too large, leaks", "cur1"),
        ]
        assert schemas.validate("reviews", read.frame)[1].is_empty()

    def test_the_same_file_twice_counts_once(self, folder):
        for name in ("a.csv", "copy of a.csv"):
            write(folder, name, line("E1:aa", "accept"), line("E1:bb", "unsure"))
        read = read_reviews(folder, KNOWN)
        assert (read.frame.height, read.n_repeated, read.problems) == (2, 2, ())

    def test_a_later_answer_replaces_an_earlier_one_whatever_the_order_of_the_files(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept", at="2026-01-03T00:00:00Z"))
        write(folder, "b.csv", line("E1:aa", "unsure", at="2026-01-02T00:00:00Z"))
        read = read_reviews(folder, KNOWN)
        assert read.frame["answer"].to_list() == ["accept"]
        assert read.n_outdated == 1

    def test_two_answers_with_no_time_between_them_are_named_and_neither_is_taken(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept", at=""), line("E1:bb", "accept"))
        write(folder, "b.csv", line("E1:aa", "wrong lesion", at=""))
        read = read_reviews(folder, KNOWN)
        assert read.frame["finding_id"].to_list() == ["E1:bb"]
        assert "b.csv, line 2" in str(read.problems[0])
        assert "delete one of the two lines" in str(read.problems[0])

    def test_two_reviewers_are_two_rows(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept"), line("E1:aa", "unsure", reviewer="CD"))
        assert read_reviews(folder, KNOWN).frame.height == 2

    def test_an_unknown_finding_is_named_with_its_line_and_the_rest_is_taken(self, folder):
        write(folder, "a.csv", line("E1:aa", "accept"), line("E9:zz", "accept"), line("E1:bb", "accept"))
        read = read_reviews(folder, KNOWN)
        assert read.frame.height == 2
        assert str(read.problems[0]).startswith("a.csv, line 3: expected a finding of this curation, got 'E9:zz'")

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ("E1:aa,AB,fine,,cur1,\r\n", "got 'fine'"),
            ("E1:aa,,accept,,cur1,\r\n", "expected a reviewer"),
            ("E1:aa,AB,accept,too large, leaks,cur1,\r\n", "more values than the header"),
        ],
    )
    def test_a_line_spoiled_by_hand_is_named(self, folder, bad, said):
        write(folder, "a.csv", bad, line("E1:bb", "accept"))
        read = read_reviews(folder, KNOWN)
        assert read.frame["finding_id"].to_list() == ["E1:bb"]
        assert said in str(read.problems[0])

    def test_a_spreadsheets_semicolons_capitals_and_mark_are_understood(self, folder):
        path = folder / "a.csv"
        path.write_bytes(b"\xef\xbb\xbfFinding_ID;Reviewer;Answer;Note\r\nE1:aa;AB;Wrong  Contour;a, b\r\n")
        assert read_reviews(folder, KNOWN).frame.rows() == [("E1:aa", "AB", "wrong contour", "a, b", None)]

    def test_a_file_of_another_kind_is_named(self, folder):
        write(folder, "a.csv", header="exam,patient\r\n")
        (folder / "b.csv").write_bytes(b"finding_id,reviewer,answer,note\r\nE1:aa,M\xfcller,accept,\r\n")
        said = [str(p) for p in read_reviews(folder, KNOWN).problems]
        assert "finding_id, reviewer, answer missing" in said[0]
        assert "another encoding" in said[1]

    def test_no_file_is_no_review(self, folder):
        assert read_reviews(folder, KNOWN).frame.is_empty()

    def test_files_are_left_as_they_are(self, folder):
        path = write(folder, "a.csv", line("E9:zz", "accept"))
        before = path.read_bytes()
        read_reviews(folder, KNOWN)
        assert path.read_bytes() == before


FINDINGS = pl.DataFrame(
    {
        "finding_id": ["E1:aa", "E1:bb", "E2:cc", "E2:dd"],
        "exam_id": ["E1", "E1", "E2", "E2"],
        "outcome": ["lesion", "lesion", "lesion", "not in the image"],
    }
)


def reviews(*rows: tuple[str, str, str]) -> pl.DataFrame:
    names = ("finding_id", "reviewer", "answer")
    return schemas.frame("reviews", [{**dict(zip(names, r)), "note": None, "curation": None} for r in rows])


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
        assert summary.to_fix.select("finding_id", "exam_id", "answer").rows() == [("E1:bb", "E1", "wrong contour")]

    def test_nothing_reviewed_is_said_not_scored(self):
        assert str(summarise(reviews(), FINDINGS).location) == "not judged yet"
