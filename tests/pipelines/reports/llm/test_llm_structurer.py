import json

import pytest

from pipelines.reports.consensus import decide_exam
from pipelines.reports.llm.chat import ServerSettings
from pipelines.reports.llm.llm_structurer import LlmStructurer, merge, problem_of
from pipelines.reports.llm.prompting import load_prompt
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from pipelines.reports.structure import structure
from pipelines.tables.outcomes import Outcome
from tests.support.stub_server import MODEL, Stub, serving

TEXT = "Right hilar node with SUV max of 4.2 (slice 88), previously 6.6."


def finding_of(text=TEXT):
    sentences = split_report("E1", text)
    (finding,) = decide_exam(sentences, RulesReader().read(sentences))
    return finding


def answer(**changes):
    values = {
        "region": "chest",
        "organ": "lymph node",
        "subsite": "hilar",
        "laterality": "right",
        "suvmax": 4.2,
        "slice": 88,
        "comparison": "decreased",
        "findings": "Right hilar node with SUV max of 4.2, previously 6.6.",
    }
    return {**values, **changes}


def merged(text=TEXT, **changes):
    return merge(structure(text), answer(**changes), finding_of(text))


class TestMerge:
    def test_answer_that_the_sentence_bears_is_taken(self):
        fields, refused = merged(findings="A right hilar node, SUV 4.2.")
        assert (fields.text, refused) == ("A right hilar node, SUV 4.2.", ())

    @pytest.mark.parametrize(
        "changes",
        [
            {"laterality": "left"},
            {"laterality": "sideways"},
            {"suvmax": 6.6},
            {"slice": 89},
            {"organ": "spleen"},
            {"subsite": "left lower lobe"},
            {"region": "abdomen/pelvis"},
            {"region": "moon"},
            {"comparison": "new"},
            {"comparison": "better"},
            {"findings": "Right hilar node with SUV max of 9.9."},
            {"findings": "Left hilar node with SUV max of 4.2."},
        ],
        ids=str,
    )
    def test_field_that_contradicts_is_refused_and_the_default_kept(self, changes):
        fields, refused = merged(**changes)
        assert len(refused) == 1
        default = structure(TEXT)
        (name,) = changes
        kept = {"findings": "text"}.get(name, name)
        if hasattr(default, kept):
            assert getattr(fields, kept) == getattr(default, kept)

    def test_side_that_the_sentence_does_not_name_is_refused(self):
        fields, refused = merged(
            "Hilar node with SUV max of 4.2 (slice 88).", laterality="left", comparison="none", findings="Hilar node."
        )
        assert fields.laterality is None
        assert "no side" in refused[0]

    def test_change_in_words_that_the_rules_do_not_know_is_taken(self):
        text = "Right hilar node with SUV max of 4.2 (slice 88), now brighter than in spring."
        assert structure(text).comparison == "none"
        assert merged(text, comparison="increased", findings="Right hilar node.")[0].comparison == "increased"


class TestStructurer:
    def structurer(self, stub):
        return LlmStructurer(
            "qwen", ServerSettings(MODEL, stub.url, backoff_s=0.01, max_retries=1), load_prompt("fields-v1")
        )

    def test_accepted_findings_get_the_models_fields(self):
        said = json.dumps(answer(findings="Right hilar node, SUV 4.2."))
        with serving(Stub(behave=lambda text, n: (200, said, "stop"))) as stub:
            (finding,) = self.structurer(stub).apply([finding_of()])
        assert (finding.text, finding.outcome) == ("Right hilar node, SUV 4.2.", Outcome.ACCEPTED)

    def test_refusal_stands_in_the_explanation(self):
        with serving(Stub(behave=lambda text, n: (200, json.dumps(answer(laterality="left")), "stop"))) as stub:
            (finding,) = self.structurer(stub).apply([finding_of()])
        assert finding.laterality == "right"
        assert "laterality 'left'" in finding.explanation

    def test_failed_model_leaves_the_rules_fields(self):
        with serving(Stub(behave=lambda text, n: (500, None, "stop"))) as stub:
            (finding,) = self.structurer(stub).apply([finding_of()])
        assert (finding.organ, finding.laterality) == ("lymph node", "right")
        assert "exam E1" in finding.explanation

    def test_rejected_findings_are_not_asked_about(self):
        with serving(Stub()) as stub:
            rejected = finding_of("Right hilar node with SUV max of 1.2 (slice 88).")
            assert self.structurer(stub).apply([rejected]) == [rejected]
        assert stub.asked == []

    @pytest.mark.parametrize("text", ["no JSON", "[]", "{}"])
    def test_answer_without_the_fields_is_a_problem(self, text):
        assert problem_of(text) is not None
