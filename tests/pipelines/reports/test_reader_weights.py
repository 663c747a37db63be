import random

import polars as pl
import pytest

from pipelines.reports.mentions import Mention
from pipelines.reports.reader_weights import (
    RULES_RIGHT,
    ReaderWeights,
    Vote,
    measured,
    read_weights,
    votes_of,
    votes_of_reviews,
    write_weights,
)
from pipelines.reports.readers import Reading


def reading(reader, *pairs, error=None, **fields):
    mentions = tuple(Mention(("E:1",), slice=s, suv=v, **fields) for s, v in pairs)
    return Reading("p", ("E:1",), reader, "1", mentions, error)


def votes(rates, n=400, together=()):
    """Votes of readers that err at a rate, those `together` on the same votes."""
    rng = random.Random(0)
    out = []
    for _ in range(n):
        is_true, shared = rng.random() < 0.5, rng.random()
        right = {name: (shared if name in together else rng.random()) >= rate for name, rate in rates.items()}
        out.append(Vote({name: 1 if ok == is_true else -1 for name, ok in right.items()}, is_true))
    return out


def weights(rates, tuned=(), **options):
    return measured(votes(rates, **options), dict.fromkeys(rates, "1"), tuned).weights


def errors(rates, given, together=(), seed_of=400):
    """How often the weighted sum errs on other votes than those that were measured."""
    fresh = votes(rates, n=2 * seed_of, together=together)[seed_of:]
    return sum(sum(given[r] * s for r, s in v.said.items()) * (1 if v.is_true else -1) <= 0 for v in fresh)


class TestVotesOf:
    def test_a_vote_for_each_pair_that_is_given_or_true(self):
        found = votes_of([reading("a", (88, 4.2)), reading("b", (88, 4.2), (90, 6.6))], [(88, 4.2), (40, 5.1)])
        assert {(tuple(sorted(v.said.items())), v.is_true) for v in found} == {
            ((("a", 1), ("b", 1)), True), ((("a", -1), ("b", -1)), True), ((("a", -1), ("b", 1)), False),
        }  # fmt: skip

    def test_a_failed_reader_says_nothing(self):
        (vote,) = votes_of([reading("a", (88, 4.2)), reading("b", error="down")], [(88, 4.2)])
        assert vote.said == {"a": 1}

    @pytest.mark.parametrize("fields", [{"exam": "prior"}, {"role": "reference"}, {"refused": "no"}, {"count": 2}])
    def test_what_is_no_single_finding_is_not_given(self, fields):
        (vote,) = votes_of([reading("a", (88, 4.2), **fields)], [(88, 4.2)])
        assert vote.said == {"a": -1}


class TestMeasured:
    def test_the_better_the_reader_the_heavier(self):
        found = weights({"rules": 0.03, "a": 0.0, "b": 0.05, "c": 0.15, "d": 0.5})
        assert found["a"] > found["b"] > found["c"] > found["d"]

    def test_rules_count_as_one(self):
        found = weights({"rules": 0.03, "a": 0.15, "b": 0.0})
        assert found["a"] < found["rules"] == 1 < found["b"]

    def test_rules_weigh_what_they_read_right_unseen_where_they_were_made_on_the_texts(self):
        alike = 1 - RULES_RIGHT[0] / RULES_RIGHT[1]
        found = weights({"rules": 0.0, "a": alike}, tuned=("rules",), n=2000)
        assert found["a"] == pytest.approx(1, abs=0.25)

    def test_readers_that_err_together_share_a_weight(self):
        alone = weights({"a": 0.05, "b": 0.15})
        together = weights({"a": 0.05, "b": 0.15, "c": 0.15, "d": 0.15}, together=("b", "c", "d"))
        assert sum(together[r] for r in "bcd") == pytest.approx(alone["b"], abs=0.15)

    @pytest.mark.parametrize("together", [(), ("b", "c", "d")], ids=["independent", "correlated"])
    def test_the_sum_errs_no_more_than_the_best(self, together):
        rates = {"a": 0.05, "b": 0.15, "c": 0.15, "d": 0.15}
        best = errors(rates, {"a": 1.0, "b": 0, "c": 0, "d": 0}, together)
        assert errors(rates, weights(rates, together=together), together) <= best

    def test_each_honest_reader_more_is_a_gain(self):
        rates = {name: 0.15 for name in "abcde"}
        counts = []
        for n in (1, 3, 5):
            own = {name: rates[name] for name in "abcde"[:n]}
            counts.append(errors(own, weights(own)))
        assert counts[0] > counts[1] > counts[2]

    def test_a_reader_that_was_not_heard_is_not_among_the_measured(self):
        found = measured([Vote({"a": 1}, True)], {"a": "1", "b": "1"})
        assert dict(found.versions) == {"a": "1"}


class TestReviews:
    FINDINGS = pl.DataFrame([{"finding_id": "E:1", "sentence_id": "E:1", "slice": 88, "suvmax_reported": 4.2}])
    READINGS = pl.DataFrame(
        [
            {"reader": r, "sentence_id": "E:1", "passage_sentence_ids": "E:0, E:1", "mention": n, "slice": s,
             "suvmax": v, "refused": None, "error": None}
            for r, n, s, v in (("a", 1, 88, 4.2), ("b", 0, None, None))
        ],
        schema_overrides={"refused": pl.String, "error": pl.String},
    )  # fmt: skip

    @pytest.mark.parametrize(("answer", "is_true"), [("accept", True), ("wrong contour", True), ("wrong text", False)])
    def test_answers_are_votes(self, answer, is_true):
        reviews = pl.DataFrame([{"finding_id": "E:1", "answer": answer, "is_stale": False}])
        assert votes_of_reviews(self.FINDINGS, self.READINGS, reviews) == [Vote({"a": 1, "b": -1}, is_true)]

    @pytest.mark.parametrize(("answer", "is_stale"), [("unsure", False), ("wrong lesion", False), ("accept", True)])
    def test_what_says_nothing_of_the_text_as_it_is_now_is_none(self, answer, is_stale):
        reviews = pl.DataFrame([{"finding_id": "E:1", "answer": answer, "is_stale": is_stale}])
        assert votes_of_reviews(self.FINDINGS, self.READINGS, reviews) == []


class TestFile:
    def test_is_read_as_it_was_written(self, tmp_path):
        kept = ReaderWeights({"rules": 1.0, "a": 0.7}, {"rules": "1", "a": "2"}, 12)
        write_weights(tmp_path, kept)
        assert read_weights(tmp_path) == kept

    def test_none_where_none_was_measured(self, tmp_path):
        assert read_weights(tmp_path) is None

    def test_another_file_is_refused_by_name(self, tmp_path):
        (tmp_path / "reader_weights.json").write_text("[]")
        with pytest.raises(ValueError, match=r"reader_weights\.json"):
            read_weights(tmp_path)
