import json

import pytest

from pipelines.reports.llm.answered_mentions import mentions_of
from pipelines.reports.passages import passages_of
from pipelines.reports.sentences import split_report
from pipelines.reports.vocabulary.vocabulary import package_vocabulary

REPORT = (
    "CHEST: New left hilar node. Pleural plaque with SUVmax 7,7 (4:88), previously 6.6/5.2."
    " Two nodules of 12 mm in the right lung."
)


def mention(**entry):
    (passage,) = passages_of(split_report("E", REPORT))
    whole = {"sentences": [1], "role": "lesion", "exam": "current", **entry}
    (found,) = mentions_of(passage, json.dumps({"mentions": [whole]}), package_vocabulary())
    return found


def sentences():
    return [s.sentence_id for s in passages_of(split_report("E", REPORT))[0].sentences]


class TestGrounding:
    @pytest.mark.parametrize(
        "entry",
        [
            {"suv": 7.7}, {"slice": 88}, {"series": 4}, {"prior_suv": 6.6}, {"prior_suv": 5.2}, {"size_cm": 1.2},
            {"slice": 2},
        ],
        ids=["comma", "slice", "series", "fraction", "second of it", "mm", "word"],
    )  # fmt: skip
    def test_numbers_that_stand_in_the_cited_sentences(self, entry):
        assert mention(sentences=[1, 2, 3], **entry).refused is None

    @pytest.mark.parametrize("entry", [{"suv": 7.0}, {"suv": 8}, {"slice": 8}, {"prior_suv": 6}, {"size_cm": 12.5}])
    def test_numbers_that_do_not_are_refused_with_the_reason(self, entry):
        assert "does not stand" in mention(sentences=[1, 2, 3], **entry).refused

    def test_a_number_of_another_sentence_is_refused(self):
        assert "suv 7.7" in mention(sentences=[1], suv=7.7).refused

    def test_a_sentence_that_is_not_there_is_refused(self):
        assert "sentence 9 of" in mention(sentences=[9]).refused

    def test_the_other_side_is_refused(self):
        assert "right" in mention(laterality="right").refused

    def test_a_side_that_no_cited_sentence_names_is_left_out(self):
        found = mention(sentences=[2], suv=7.7, laterality="left")
        assert (found.refused, found.laterality) == (None, None)


class TestLanguages:
    GERMAN = "Der Befund zeigt einen Lymphknoten links axillär mit SUVmax 4,2 in Schicht 88. Die Leber ist unauffällig."

    def german(self, **entry):
        (passage,) = passages_of(split_report("E", self.GERMAN))
        whole = {"sentences": [1], "role": "lesion", "exam": "current", "suv": 4.2, **entry}
        return mentions_of(passage, json.dumps({"mentions": [whole]}), package_vocabulary())[0]

    def test_sides_and_organs_are_held_against_the_text_in_its_language(self):
        found = self.german(laterality="left", organ="lymph node")
        assert (found.refused, found.laterality, found.organ) == (None, "left", "lymph node")

    def test_the_other_side_is_refused(self):
        assert "right" in self.german(laterality="right").refused


class TestFields:
    def test_the_sentence_with_the_suv_leads(self):
        first, second, _ = sentences()
        assert mention(sentences=[1, 2], suv=7.7).sentence_ids == (second, first)

    def test_organ_and_region_are_the_lexicons(self):
        found = mention(organ="Lymph nodes", laterality="left", comparison="new")
        assert (found.organ, found.laterality, found.comparison) == ("lymph node", "left", "new")

    def test_an_organ_that_the_text_does_not_name_is_left_out(self):
        assert mention(organ="spleen").organ is None

    def test_words_out_of_the_choices_count_as_not_told(self):
        found = mention(comparison="bigger", plane="oblique", certainty="sure", lesion="null")
        assert (found.comparison, found.plane, found.certainty, found.lesion) == ("none", None, "certain", None)
