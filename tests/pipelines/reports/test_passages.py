import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.passages import MAX_PASSAGE_CHARS, passages_of
from pipelines.reports.sentences import split_report

REPORT = """COMPARISON: PET/CT of 12 March.
CHEST: Left lung nodule, SUVmax 4.2. No effusion.
ABDOMEN: The gallbladder is absent.
PELVIS: Right iliac node."""


def passages(report=REPORT):
    return passages_of(split_report("E", report))


class TestPassagesOf:
    def test_a_passage_is_a_heading_with_its_numbered_sentences_and_the_compared_exam(self):
        assert passages()[0].text == (
            "Heading: CHEST\nCompared with: PET/CT of 12 March.\n1. Left lung nodule, SUVmax 4.2.\n2. No effusion."
        )

    def test_passages_that_name_no_uptake_suv_slice_or_lesion_are_left_out(self):
        assert [p.section for p in passages()] == ["CHEST", "PELVIS"]

    @pytest.mark.parametrize(
        "sentence", ["Uptake in the liver.", "SUVmax 4.2.", "See slice 88.", "A node in the neck."]
    )
    def test_each_kind_of_word_is_enough(self, sentence):
        assert len(passages(sentence)) == 1

    def test_long_sections_are_split_between_sentences(self):
        own = passages("CHEST: " + "Left lung nodule of the upper lobe with SUVmax 4.2. " * 60)
        assert len(own) > 1
        assert all(sum(len(s.sentence) for s in p.sentences) <= MAX_PASSAGE_CHARS for p in own)

    def test_equal_passages_of_one_report_have_ids_of_their_own(self):
        own = passages("CHEST: Left lung nodule.\nABDOMEN: Liver lesion.\nCHEST: Left lung nodule.")
        assert len({p.passage_id for p in own}) == 3

    @given(st.text(max_size=400))
    @settings(max_examples=100, deadline=None)
    def test_every_candidate_sentence_of_any_text_is_in_one_passage(self, text):
        sentences = split_report("E", text + " Left node, SUV 4.2 (slice 88).")
        held = [s.sentence_id for p in passages_of(sentences) for s in p.sentences]
        assert len(held) == len(set(held))
        assert {s.sentence_id for s in sentences if s.is_candidate} <= set(held)
