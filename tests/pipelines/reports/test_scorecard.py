import pytest

from pipelines.reports.mentions import Mention
from pipelines.reports.readers import Reading, RulesReader
from pipelines.reports.scorecard import (
    ENSEMBLE,
    Labelled,
    LabelledError,
    by_topic,
    load_labelled,
    not_right,
    rows_of_figure,
    score,
    table_of_scores,
)
from pipelines.settings import ConsensusSettings

TWO = [
    Labelled("Left lung nodule with SUV 4.2 (slice 88).", ((88, 4.2),), "accepted", ""),
    Labelled("Blood pool SUV 2.9 (slice 90).", (), "template", ""),
]


class FixedReader:
    """Says the same of every sentence, in it or not."""

    version = "1"

    def __init__(self, name, number, suvmax, error=None):
        self.name, self.number, self.suvmax, self.error = name, number, suvmax, error

    def read(self, passages, progress=None):
        return [
            Reading(
                p.passage_id, tuple(s.sentence_id for s in p.sentences), self.name, "1", self.mentions(p), self.error
            )
            for p in passages
        ]

    def mentions(self, passage):
        if self.error is not None:
            return ()
        return tuple(
            Mention((s.sentence_id,), slice=self.number, suv=self.suvmax, region="chest") for s in passage.sentences
        )


def row_of(card, reader):
    (row,) = card.scores.filter(reader=reader).iter_rows(named=True)
    return row


class TestScore:
    def test_reader_that_is_right(self):
        row = row_of(score(TWO, [RulesReader()]), "rules")
        assert (row["n"], row["n_with_pair"], row["both_right"], row["wrong_accepted"], row["rejected_right"]) == (
            2,
            1,
            1.0,
            0.0,
            1.0,
        )

    def test_half_right_pair_counts_for_its_half_alone(self):
        row = row_of(score(TWO, [FixedReader("fixed", 88, 9.9)]), "fixed")
        assert (row["slice_right"], row["suvmax_right"], row["both_right"]) == (1.0, 0.0, 0.0)

    def test_grounded_pair_that_the_label_lacks_is_a_wrong_one(self):
        labelled = [Labelled("Left lung nodule with SUV 4.2 (slice 88).", ((77, 4.2),), None, "")]
        assert row_of(score(labelled, [RulesReader()]), "rules")["wrong_accepted"] == 1.0

    def test_pair_that_is_read_but_rejected_is_no_right_outcome(self):
        labelled = [Labelled("Two left lung nodules with SUV 4.2 (slice 88).", ((88, 4.2),), None, "")]
        row = row_of(score(labelled, [RulesReader()]), "rules")
        assert (row["both_right"], row["outcome_right"]) == (1.0, 0.0)

    def test_failed_readings_are_counted(self):
        row = row_of(score(TWO, [FixedReader("down", None, None, "server down")]), "down")
        assert (row["n_failed"], row["both_right"]) == (2, 0.0)

    def test_ensemble_has_a_row_where_there_are_two_readers(self):
        assert score(TWO, [RulesReader()]).scores["reader"].to_list() == ["rules"]
        assert score(TWO, [RulesReader(), FixedReader("b", 88, 4.2)]).scores["reader"].to_list() == [
            "rules",
            "b",
            ENSEMBLE,
        ]

    def test_a_reader_that_is_always_wrong_does_not_drag_a_trusted_one_down(self):
        card = score(TWO, [RulesReader(), FixedReader("b", 12, 3.3)], ConsensusSettings(weights={"rules": 2}))
        assert row_of(card, ENSEMBLE)["both_right"] == row_of(card, "rules")["both_right"] == 1.0


class TestShown:
    def test_figure_has_each_share_between_the_ends_of_its_interval(self):
        rows = rows_of_figure(score(TWO, [RulesReader()])).to_dicts()
        assert {row["metric"]: row["value"] for row in rows} == {
            "both values right": 1.0,
            "slice right": 1.0,
            "SUVmax right": 1.0,
            "wrong pair accepted": 0.0,
        }
        assert all(row["low"] <= row["value"] <= row["high"] for row in rows)

    def test_figure_has_no_share_where_no_text_has_a_pair(self):
        rows = rows_of_figure(score(TWO[1:], [RulesReader()])).to_dicts()
        assert [row["metric"] for row in rows if row["status"] == "not computed"] == [
            "both values right",
            "slice right",
            "SUVmax right",
        ]

    def test_topics_are_counted_apart_the_worst_first(self):
        labelled = [
            Labelled("Left lung nodule with SUV 4.2 (slice 88).", ((88, 4.2),), None, "plain"),
            Labelled("Left lung nodule with SUV 4.2 (slice 88).", ((77, 4.2),), None, "faulty label"),
        ]
        rows = by_topic(score(labelled, [RulesReader()])).to_dicts()
        assert rows == [
            {"topic": "faulty label", "n": 1, "rules": "0 %, 1 wrong pairs"},
            {"topic": "plain", "n": 1, "rules": "100 %"},
        ]

    def test_what_is_not_right_begins_with_the_wrong_pairs(self):
        labelled = [
            Labelled("Left lung nodule with SUV 4.2.", ((88, 4.2),), None, ""),
            Labelled("Left lung nodule with SUV 4.2 (slice 88).", ((77, 4.2),), None, ""),
            Labelled("Left lung nodule with SUV 4.2 (slice 99).", ((99, 4.2),), None, ""),
        ]
        card = score(labelled, [RulesReader()])
        assert not_right(card)["verdict"].to_list() == ["wrong pair accepted", "not read"]

    def test_table_of_scores_has_a_row_a_reader(self):
        assert table_of_scores(score(TWO, [RulesReader()]))["both_right"].to_list() == [1.0]


class TestLabelledFile:
    def test_holds_what_the_reader_must_cope_with(self):
        labelled = load_labelled()
        assert len(labelled) >= 80
        assert {item.topic for item in labelled} >= {
            "prior exam",
            "reference region",
            "several lesions",
            "respectively",
            "across sentences",
            "not a slice",
        }

    def test_rules_reach_what_is_asked_of_them(self):
        row = row_of(score(load_labelled(), [RulesReader()]), "rules")
        assert row["both_right"] >= 0.9
        assert row["wrong_accepted"] <= 0.02

    def test_labels_agree_with_the_outcomes(self):
        labelled = [item for item in load_labelled() if item.outcome not in (None, "none")]
        answers = score(labelled, [RulesReader()]).answers
        wrong = [
            (row["sentence"], item.outcome, row["outcome"])
            for item, row in zip(labelled, answers.iter_rows(named=True), strict=True)
            if item.outcome not in row["outcome"].split("; ")
        ]
        assert wrong == []

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("sentence,slice\na,1\n", "suvmax"),
            ("sentence,slice,suvmax\na,1;2,4\n", "line 2"),
            ("sentence,slice,suvmax\na,x,4\n", "line 2"),
            ("sentence,slice,suvmax\n,1,4\n", "expected a sentence"),
        ],
    )
    def test_faulty_file_names_the_line(self, tmp_path, content, words):
        path = tmp_path / "l.csv"
        path.write_text(content)
        with pytest.raises(LabelledError, match=words):
            load_labelled(path)
