import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.consensus import decide_exam
from pipelines.reports.mentions import Mention
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import Reading, RulesReader
from pipelines.reports.sentences import split_report
from pipelines.settings import ConsensusSettings
from pipelines.tables.outcomes import Outcome

TEXT = "Right axillary node with SUV max of 4.2 (series 3, slice 88), previously 6.6."
TWO = "Right axillary node with SUV 4.2 (slice 88) and left axillary node with SUV 5.1 (slice 40)."


def sentences_of(text=TEXT):
    return split_report("E", text)


def mention(slice=88, suv=4.2, **fields):
    sentence = fields.pop("sentence", None) or sentences_of()[0]
    return Mention((sentence.sentence_id,), slice=slice, suv=suv, **{"organ": "lymph node", **fields})


def reading(reader, *mentions, text=TEXT, **fields):
    ids = tuple(s.sentence_id for s in sentences_of(text))
    return Reading("p", ids, reader, "1", mentions, **fields)


def failed(reader):
    return reading(reader, error="server down")


def decided(*readings, text=TEXT, **settings):
    return decide_exam(sentences_of(text), readings, ConsensusSettings(**settings))


def outcome(*readings, **settings):
    (finding,) = decided(*readings, **settings)
    return finding.outcome


def by_rules(text):
    sentences = sentences_of(text)
    return decide_exam(sentences, RulesReader().read(passages_of(sentences)))


class TestVotes:
    def test_one_reader_alone_is_enough(self):
        assert outcome(reading("a", mention())) is Outcome.ACCEPTED

    def test_the_readers_that_give_the_values_are_named(self):
        (finding,) = decided(reading("a", mention()), reading("b", mention()), reading("c"))
        assert (finding.outcome, finding.votes, finding.readers) == (Outcome.ACCEPTED, 2, "a,b")
        assert finding.agreement == pytest.approx(2 / 3)

    def test_two_slices_for_one_value_are_a_disagreement(self):
        (finding,) = decided(reading("a", mention()), reading("b", mention(91)))
        assert finding.outcome is Outcome.READERS_DISAGREE
        assert "slice 91" in finding.explanation

    def test_a_heavier_reader_decides_against_a_lighter_one(self):
        readings = [reading("a", mention()), reading("b", mention(91))]
        (finding,) = decided(*readings, weights={"a": 1.5})
        assert (finding.outcome, finding.slice, finding.readers) == (Outcome.ACCEPTED, 88, "a")

    def test_values_that_no_reader_gives_as_a_pair_are_no_pair(self):
        readings = [reading("a", mention(88, 4.2)), reading("b", mention(91, 4.2)), reading("c", mention(88, 4.9))]
        weights = {"b": 1.5, "c": 1.5}
        assert Outcome.ACCEPTED not in [f.outcome for f in decided(*readings, weights=weights)]

    def test_a_reader_without_a_server_does_not_lower_the_votes_that_are_needed(self):
        assert outcome(reading("a", mention()), failed("b")) is Outcome.READERS_DISAGREE
        assert outcome(reading("a", mention()), reading("c", mention()), failed("b")) is Outcome.ACCEPTED

    def test_a_failed_reader_is_told(self):
        (finding,) = decided(reading("a", mention()), reading("c", mention()), failed("b"))
        assert "failed: b" in finding.explanation

    def test_all_failed(self):
        (finding,) = decided(failed("b"))
        assert finding.outcome is Outcome.READER_FAILED
        assert "b: server down" in finding.explanation

    def test_no_readings_yet(self):
        assert outcome() is Outcome.READER_FAILED

    @pytest.mark.parametrize(
        ("field", "said", "wanted"),
        [("organ", ("lung", "lung", "pleura"), "lung"), ("laterality", ("left", None, None), None),
         ("organ", (None, None, "pleura"), "pleura"), ("comparison", ("new", "none", "none"), "none")],
    )  # fmt: skip
    def test_fields_are_voted_on_one_by_one(self, field, said, wanted):
        readings = [reading(name, mention(**{field: value})) for name, value in zip("abc", said, strict=True)]
        (finding,) = decided(*readings)
        assert (finding.outcome, getattr(finding, field)) == (Outcome.ACCEPTED, wanted)


class TestVetoAndFind:
    @pytest.mark.parametrize(
        ("fields", "wanted"),
        [
            ({"exam": "prior"}, Outcome.NOT_CURRENT),
            ({"exam": "outside"}, Outcome.NOT_CURRENT),
            ({"role": "reference"}, Outcome.TEMPLATE),
            ({"role": "template"}, Outcome.TEMPLATE),
            ({"role": "negated"}, Outcome.NO_LESION),
        ],
    )
    def test_agreeing_readers_veto(self, fields, wanted):
        assert outcome(reading("rules", mention()), *(reading(r, mention(**fields)) for r in "ab")) is wanted

    def test_readers_that_see_no_lesion_veto(self):
        (finding,) = decided(reading("rules", mention()), reading("a"), reading("b"))
        assert finding.outcome is Outcome.NO_LESION
        assert "a read no lesion there" in finding.explanation

    def test_agreeing_readers_find_what_another_does_not_see(self):
        (finding,) = decided(reading("rules"), reading("a", mention()), reading("b", mention()))
        assert (finding.outcome, finding.readers) == (Outcome.ACCEPTED, "a,b")

    def test_a_tie_is_rejected(self):
        assert outcome(reading("a", mention()), reading("b")) is Outcome.READERS_DISAGREE

    def test_a_refused_mention_is_no_vote(self):
        (finding,) = decided(reading("a", mention(refused="slice 99 does not stand in the cited sentences")))
        assert finding.outcome is Outcome.NOT_GROUNDED
        assert "slice 99" in finding.explanation

    def test_physiologic_uptake_stays_a_finding(self):
        (finding,) = decided(reading("a", mention(role="physiologic")))
        assert (finding.outcome, finding.is_physiologic) == (Outcome.ACCEPTED, True)


class TestAlignment:
    def test_each_lesion_of_a_sentence_has_its_own_votes(self):
        (sentence,) = sentences_of(TWO)
        right = mention(88, 4.2, laterality="right", sentence=sentence)
        left = mention(40, 5.1, laterality="left", sentence=sentence)
        findings = decided(
            reading("a", right, left, text=TWO), reading("b", left, right, text=TWO), reading("c", left, text=TWO),
            text=TWO,
        )  # fmt: skip
        assert [(f.suvmax_reported, f.votes) for f in findings] == [(4.2, 2), (5.1, 3)]
        assert len({f.finding_id for f in findings}) == 2

    def test_reference_beside_a_finding_is_no_row_of_its_own(self):
        (finding,) = decided(reading("a", mention(), mention(None, 2.9, role="reference", organ="liver")))
        assert finding.suvmax_reported == 4.2

    def test_another_value_of_the_slice_is_a_misreading_and_not_another_lesion(self):
        (finding,) = decided(reading("a", mention()), reading("b", mention()), reading("c", mention(88, 6.6)))
        assert (finding.outcome, finding.suvmax_reported, finding.votes) == (Outcome.ACCEPTED, 4.2, 2)

    def test_a_candidate_sentence_that_is_cited_beside_another_has_an_outcome(self):
        report = "Right axillary node, SUV 4.2 (slice 88). Its slice is 88, with SUV 4.2 again (slice 88)."
        first, second = sentences_of(report)
        both = Mention((first.sentence_id, second.sentence_id), slice=88, suv=4.2, organ="lymph node")
        findings = decided(reading("a", both, text=report), text=report)
        assert [f.outcome for f in findings] == [Outcome.ACCEPTED, Outcome.DUPLICATE]


class TestEvidence:
    @pytest.mark.parametrize(
        ("values", "evidence", "wanted"),
        [
            ((88, 4.2), "slice+SUV", Outcome.ACCEPTED),
            ((None, 4.2), "SUV only", Outcome.ACCEPTED),
            ((88, None), "slice only", Outcome.NOTHING_TO_LOCATE_BY),
            ((None, None), "neither", Outcome.NOTHING_TO_LOCATE_BY),
        ],
    )
    def test_outcome_by_what_the_text_gives(self, values, evidence, wanted):
        (finding,) = decided(reading("a", mention(*values)))
        assert (finding.text_evidence, finding.outcome) == (evidence, wanted)

    def test_suv_without_slice_and_place_cannot_be_located(self):
        assert outcome(reading("a", mention(None, 4.2, organ=None))) is Outcome.NOTHING_TO_LOCATE_BY

    def test_coronal_slice_is_no_axial_one(self):
        (finding,) = decided(reading("a", mention(plane="coronal")))
        assert (finding.outcome, finding.text_evidence) == (Outcome.ACCEPTED, "SUV only")

    def test_mean_is_no_maximum(self):
        assert outcome(reading("a", mention(suv_kind="mean"))) is Outcome.NOTHING_TO_LOCATE_BY


class TestFilters:
    @pytest.mark.parametrize(("suv", "wanted"), [(2.4, Outcome.SUV_TOO_LOW), (2.5, Outcome.ACCEPTED)])
    def test_low_suv(self, suv, wanted):
        assert outcome(reading("a", mention(88, suv))) is wanted

    def test_no_anatomy_unless_the_heading_names_it(self):
        bare = "Focus with SUV max of 4.2 (slice 88)."
        assert [f.outcome for f in by_rules(bare)] == [Outcome.NO_ANATOMY]
        (finding,) = by_rules("CHEST: " + bare)
        assert (finding.outcome, finding.region) == (Outcome.ACCEPTED, "chest")

    def test_several_lesions_with_one_pair(self):
        assert outcome(*(reading(r, mention(count=2)) for r in "ab")) is Outcome.SEVERAL_LESIONS

    def test_sentence_that_names_no_lesion_gives_nothing(self):
        assert by_rules("Normal liver.") == []

    @pytest.mark.parametrize("heading", ["HISTORY", "Clinical history", "COMPARISON"])
    def test_what_stands_under_the_history_is_not_of_this_exam(self, heading):
        assert [f.outcome for f in by_rules(f"{heading}: {TEXT}")] == [Outcome.NOT_CURRENT]


class TestExam:
    def test_each_part_has_its_own_span_values_and_side(self):
        a, b = by_rules(TWO)
        assert [TWO[f.start : f.end] for f in (a, b)] == [a.sentence, b.sentence]
        assert (a.slice, a.suvmax_reported, a.laterality) == (88, 4.2, "right")
        assert (b.slice, b.suvmax_reported, b.laterality) == (40, 5.1, "left")

    @pytest.mark.parametrize(
        "text",
        [
            "Left lung nodule SUV 4.2 (slice 88).\nIMPRESSION: Left lung nodule, SUV max 4.2, slice 88.",
            "Left lung nodule SUV 4.2 (slice 88).\nIMPRESSION: Left lung nodule, SUV max 4.2.",
        ],
        ids=["with slice", "without slice"],
    )
    def test_lesion_said_twice_is_accepted_once(self, text):
        findings = by_rules(text)
        assert [f.outcome for f in findings] == [Outcome.ACCEPTED, Outcome.DUPLICATE]
        assert findings[0].finding_id in findings[1].explanation

    def test_of_two_sayings_the_one_with_the_slice_counts(self):
        findings = by_rules("IMPRESSION: Left lung nodule, SUV max 4.2.\nCHEST: Left lung nodule SUV 4.2 (slice 88).")
        assert [(f.outcome, f.slice) for f in findings] == [(Outcome.DUPLICATE, None), (Outcome.ACCEPTED, 88)]

    def test_two_sides_are_two_lesions(self):
        findings = by_rules("Left lung nodule SUV 4.2 (slice 88). Right lung nodule SUV 4.2 (slice 88).")
        assert [f.outcome for f in findings] == [Outcome.ACCEPTED] * 2

    def test_readings_of_another_exam_are_refused(self):
        readings = RulesReader().read(passages_of(split_report("other", TEXT)))
        with pytest.raises(ValueError, match="expected readings of the exam's sentences"):
            decide_exam(sentences_of(), readings)

    def test_reader_that_reads_twice_is_refused(self):
        with pytest.raises(ValueError, match="own name"):
            decided(reading("a", mention()), reading("a", mention()))


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
        findings = by_rules(report)
        assert {s.sentence_id for s in sentences_of(report) if s.is_candidate} <= {f.sentence_id for f in findings}
        assert len({f.finding_id for f in findings}) == len(findings)
        assert all(report[f.start : f.end] == f.sentence and f.explanation for f in findings)

    @given(REPORTS)
    @settings(max_examples=300, deadline=None)
    def test_accepted_numbers_stand_in_the_sentence(self, report):
        text = {s.sentence_id: s.sentence for s in sentences_of(report)}
        for f in by_rules(report):
            if f.outcome is Outcome.ACCEPTED:
                assert f.slice is None or str(f.slice) in text[f.sentence_id]
                assert f"{f.suvmax_reported:g}" in text[f.sentence_id]
                assert f.suvmax_reported >= 2.5


class TestLanguages:
    def test_a_report_of_another_language_is_found_in_english_fields(self):
        (finding,) = by_rules("Hypermetaboler Lymphknoten rechts axillär, SUVmax 5,2 (Schicht 88), vormals 7,1.")
        assert (finding.slice, finding.suvmax_reported, finding.outcome) == (88, 5.2, Outcome.ACCEPTED)
        assert (finding.organ, finding.laterality, finding.comparison) == ("lymph node", "right", "decreased")
        assert finding.sentence.startswith("Hypermetaboler")

    def test_a_language_that_no_reader_knows_is_told(self):
        (finding,) = by_rules("Powiększony węzeł chłonny po stronie prawej z wychwytem SUVmax 5,2, nie jest nowy.")
        assert finding.outcome is Outcome.OTHER_LANGUAGE
        assert "pl" in finding.explanation
