from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.consensus import decide, decide_exam
from pipelines.reports.readers import Reading, RulesReader
from pipelines.reports.sentences import split_report
from pipelines.settings import ConsensusSettings
from pipelines.tables.outcomes import Outcome

TEXT = "Right axillary node with SUV max of 4.2 (series 3, slice 88), previously 6.6."


def sentence_of(text=TEXT):
    (sentence,) = split_report("E", text)
    return sentence


def reading(sentence, reader, number=88, suvmax=4.2, **extra):
    values = {"n_lesions": 1, "is_current": True, "error": None, "answer": None, **extra}
    return Reading(sentence.sentence_id, reader, "1", number, suvmax, **values)


def outcome(readings, settings=None, text=TEXT):
    (finding,) = decide(sentence_of(text), readings, settings)
    return finding.outcome


class TestVotes:
    def test_one_reader_alone_is_enough(self):
        assert outcome([reading(sentence_of(), "a")]) is Outcome.ACCEPTED

    def test_two_equal_votes_accept_and_are_named(self):
        s = sentence_of()
        (finding,) = decide(s, [reading(s, "a"), reading(s, "b"), reading(s, "c", None, None)])
        assert (finding.outcome, finding.votes, finding.readers) == (Outcome.ACCEPTED, 2, "a,b")

    def test_one_vote_of_two_readers_is_a_disagreement(self):
        s = sentence_of("Right node, SUV 4.2, SUVmax 4.9, slice 88, slice 91.")
        (finding,) = decide(s, [reading(s, "a"), reading(s, "b", 91)])
        assert finding.outcome is Outcome.READERS_DISAGREE
        assert "slice 91" in finding.explanation

    def test_votes_count_per_value(self):
        s = sentence_of()
        found = outcome([reading(s, "a", 88, None), reading(s, "b", 88, 4.2), reading(s, "c", None, 4.2)])
        assert found is Outcome.ACCEPTED

    def test_weight_of_a_trusted_reader(self):
        s = sentence_of()
        readings = [reading(s, "rules"), reading(s, "llm", None, None)]
        assert outcome(readings) is Outcome.READERS_DISAGREE
        (finding,) = decide(s, readings, ConsensusSettings(weights={"rules": 2}))
        assert (finding.outcome, finding.votes, finding.readers) == (Outcome.ACCEPTED, 1, "rules")

    def test_failed_reader_does_not_vote_but_counts_as_reader(self):
        s = sentence_of()
        failed = replace(reading(s, "b", None, None), error="server down")
        assert outcome([reading(s, "a"), failed]) is Outcome.READERS_DISAGREE
        assert outcome([reading(s, "a"), reading(s, "c"), failed]) is Outcome.ACCEPTED

    def test_all_failed(self):
        s = sentence_of()
        (finding,) = decide(s, [replace(reading(s, "b", None, None), error="server down")])
        assert finding.outcome is Outcome.READER_FAILED
        assert "b: server down" in finding.explanation

    def test_no_readings_yet(self):
        assert outcome([]) is Outcome.READER_FAILED


class TestAgreement:
    def test_is_the_share_of_the_readers_that_did_not_fail(self):
        s = sentence_of()
        failed = replace(reading(s, "d", None, None), error="server down")
        (finding,) = decide(s, [reading(s, "a"), reading(s, "b"), reading(s, "c", 3, 6.6), failed])
        assert (finding.votes, finding.agreement) == (2, pytest.approx(2 / 3))

    def test_of_a_split_sentence_counts_each_pair(self):
        s = sentence_of("Right node SUV 4.2 (slice 88) and left node SUV 5.1 (slice 92).")
        rules = RulesReader().read([s])[0]
        other = replace(rules, reader="other", answer='{"lesions": [{"slice": 88, "suvmax": 4.2}]}')
        settings = ConsensusSettings(weights={"rules": 2})
        assert [f.agreement for f in decide(s, [rules, other], settings)] == [1.0, 0.5]

    def test_is_null_where_nothing_was_voted_on(self):
        s = sentence_of("Blood pool SUV max 2.1 (slice 92).")
        assert [f.agreement for f in decide(s, [reading(s, "a", 92, 2.1)])] == [None]


class TestGrounding:
    @pytest.mark.parametrize(
        ("number", "suvmax"),
        [(88, 4.3), (89, 4.2), (3, 4.2), (88, 6.6), (88, 88.0)],
        ids=["SUV not there", "slice not there", "series", "prior SUV", "slice as SUV"],
    )
    def test_number_that_is_not_the_findings_is_never_accepted(self, number, suvmax):
        s = sentence_of()
        assert outcome([reading(s, r, number, suvmax) for r in "abc"]) is Outcome.NOT_GROUNDED

    def test_number_whose_meaning_the_rules_do_not_know_may_be_read(self):
        text = "Right axillary node with SUV max of 4.2 (slice 88), hot spot index 7.7 there."
        s = sentence_of(text)
        assert outcome([reading(s, r, 88, 7.7) for r in "ab"], text=text) is Outcome.ACCEPTED

    def test_values_that_no_reader_gives_as_a_pair_are_no_pair(self):
        text = "Right axillary node, SUV 4.2, SUV 4.9, slice 88, slice 91."
        s = sentence_of(text)
        readings = [
            reading(s, "a", 88, None),
            reading(s, "b", 88, None),
            reading(s, "c", None, 4.9),
            reading(s, "d", None, 4.9),
        ]
        assert outcome(readings, text=text) is Outcome.READERS_DISAGREE

    def test_an_ungrounded_vote_does_not_drag_the_others_down(self):
        s = sentence_of()
        assert outcome([reading(s, "a"), reading(s, "b"), reading(s, "c", 3, 6.6)]) is Outcome.ACCEPTED


class TestFilters:
    def test_low_suv(self):
        s = sentence_of("Right axillary node with SUV max of 2.4 (slice 88).")
        assert outcome([reading(s, "a", 88, 2.4)], text=s.sentence) is Outcome.SUV_TOO_LOW

    def test_threshold_itself_passes(self):
        s = sentence_of("Right axillary node with SUV max of 2.5 (slice 88).")
        assert outcome([reading(s, "a", 88, 2.5)], text=s.sentence) is Outcome.ACCEPTED

    def test_no_anatomy_unless_the_heading_names_it(self):
        bare = "Focus with SUV max of 4.2 (slice 88)."
        s = sentence_of(bare)
        assert outcome([reading(s, "a")], text=bare) is Outcome.NO_ANATOMY
        headed = sentence_of("CHEST: " + bare)
        (finding,) = decide(headed, [reading(headed, "a")])
        assert (finding.outcome, finding.region) == (Outcome.ACCEPTED, "chest")

    def test_majority_says_several(self):
        s = sentence_of()
        assert outcome([reading(s, r, n_lesions=2) for r in "ab"]) is Outcome.SEVERAL_LESIONS

    def test_majority_says_prior(self):
        s = sentence_of()
        assert outcome([reading(s, r, is_current=False) for r in "ab"]) is Outcome.NOT_CURRENT

    def test_sentence_that_is_no_candidate_gives_nothing(self):
        assert decide(sentence_of("Normal liver."), []) == []

    @pytest.mark.parametrize("heading", ["HISTORY", "Clinical history", "COMPARISON"])
    def test_what_stands_under_the_history_is_not_of_this_exam(self, heading):
        (finding,) = decide_exam(split_report("E", f"{heading}: {TEXT}"), [])
        assert finding.outcome is Outcome.NOT_CURRENT


class TestSplitting:
    TEXT = "Right axillary node with SUV 4.2 (slice 88) and left axillary node with SUV 5.1 (slice 40)."

    def test_each_part_has_its_own_span_values_and_side(self):
        s = sentence_of(self.TEXT)
        a, b = decide(s, RulesReader().read([s]))
        assert [self.TEXT[f.start : f.end] for f in (a, b)] == [a.sentence, b.sentence]
        assert (a.slice, a.suvmax_reported, a.laterality) == (88, 4.2, "right")
        assert (b.slice, b.suvmax_reported, b.laterality) == (40, 5.1, "left")
        assert len({a.finding_id, b.finding_id}) == 2

    def test_part_that_only_one_of_two_readers_gives_is_rejected(self):
        s = sentence_of(self.TEXT)
        first, second = decide(s, [*RulesReader().read([s]), reading(s, "llm", 88, 4.2)])
        assert (first.outcome, second.outcome) == (Outcome.ACCEPTED, Outcome.READERS_DISAGREE)


class TestExam:
    def test_lesion_said_twice_is_accepted_once(self):
        sentences = split_report(
            "E", "Left lung nodule SUV 4.2 (slice 88).\nIMPRESSION: Left lung nodule, SUV max 4.2, slice 88."
        )
        findings = decide_exam(sentences, RulesReader().read(sentences))
        assert [f.outcome for f in findings] == [Outcome.ACCEPTED, Outcome.DUPLICATE]
        assert findings[0].finding_id in findings[1].explanation

    def test_two_sides_are_two_lesions(self):
        sentences = split_report("E", "Left lung nodule SUV 4.2 (slice 88). Right lung nodule SUV 4.2 (slice 88).")
        findings = decide_exam(sentences, RulesReader().read(sentences))
        assert [f.outcome for f in findings] == [Outcome.ACCEPTED] * 2

    def test_every_candidate_has_an_outcome(self):
        report = "Node SUV 4 (slice 8). Blood pool SUV 2 (slice 9). Left nodes SUV 3-5 (slice 7). Liver normal."
        sentences = split_report("E", report)
        findings = decide_exam(sentences, RulesReader().read([s for s in sentences if s.is_candidate]))
        assert {f.sentence_id for f in findings} == {s.sentence_id for s in sentences if s.is_candidate}

    def test_readings_of_another_sentence_are_refused(self):
        a, b = split_report("E", "Left node SUV 4 (slice 8). Right node SUV 5 (slice 9).")
        with pytest.raises(ValueError, match="expected readings of sentence"):
            decide(a, RulesReader().read([b]))


REPORTS = st.lists(
    st.sampled_from(
        [
            "Right axillary node ", "left lung nodule ", "Blood pool ", "with SUV max of 4.2 ", "SUV 13 ",
            "SUVmax: 2.1, ", "(slice 88)", "image 77", "(series 3, image 40/230)", "previously 6.6 ", "(was 5.1)",
            "on the prior exam", "compared to liver SUV 2.9", " and ", ", ", "; ", ". ", "\n", "CHEST: ", "1. ",
            "on slices 88 and 92, respectively", "ranging from 3.1 to 5.2 ", "2.2 x 1.5 cm ", "several ",
            "coronal slice 12 ", "Level 2A ", "in 2018 ",
        ]
    ),
    max_size=14,
).map("".join)  # fmt: skip


class TestAnyReport:
    @given(REPORTS)
    @settings(max_examples=300, deadline=None)
    def test_every_candidate_ends_with_an_outcome_and_every_finding_is_traceable(self, report):
        sentences = split_report("E", report)
        findings = decide_exam(sentences, RulesReader().read([s for s in sentences if s.is_candidate]))
        assert {f.sentence_id for f in findings} == {s.sentence_id for s in sentences if s.is_candidate}
        assert len({f.finding_id for f in findings}) == len(findings)
        assert all(report[f.start : f.end] == f.sentence and f.explanation for f in findings)

    @given(REPORTS)
    @settings(max_examples=300, deadline=None)
    def test_accepted_numbers_stand_in_the_sentence(self, report):
        sentences = split_report("E", report)
        text = {s.sentence_id: s.sentence for s in sentences}
        for f in decide_exam(sentences, RulesReader().read(sentences)):
            if f.outcome is Outcome.ACCEPTED:
                assert str(f.slice) in text[f.sentence_id]
                assert f"{f.suvmax_reported:g}" in text[f.sentence_id]
                assert f.suvmax_reported >= 2.5
