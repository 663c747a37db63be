"""Draft reports: what they say of an exam's lesions, on every page, and read back."""

from typing import Any

import pytest

from pipelines.exports.exam_report import DRAFT, ExamReport, ReportedExam, exam_report, place_words
from pipelines.exports.report_pages import html_page, markdown_page
from pipelines.exports.report_scores import round_trip
from pipelines.reports.structure import structure
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from tests.support.report_rows import BLADDER, EXAM, lesion


def link(name: str | None, state: str, prior: str | None, **changes: Any) -> dict[str, Any]:
    row = {"finding_id": name and f"E1:{name}", "prior_finding_id": prior, "tracked_as": prior or f"E1:{name}"}
    row |= {"state": state, "explanation": None, "suvmax_change_percent": None, "mtv_ml_change_percent": None}
    return row | changes


class TestExamReport:
    def test_burden_leaves_out_physiologic_uptake_and_what_is_shared(self) -> None:
        rows = [
            lesion("a", 150),
            lesion("b", 148, shares_with="E1:a"),
            lesion("c", 20, **BLADDER, suvmax=66.0, mtv_ml=90.0),
        ]
        burden = exam_report(EXAM, rows).burden
        assert (burden.n_lesions, burden.mtv_ml, burden.tlg, burden.suvmax) == (2, 4.0, 20.0, 8.24)

    def test_findings_of_one_peak_are_one_lesion(self) -> None:
        assert len(exam_report(EXAM, [lesion("a", 150), lesion("b", 150)]).lesions) == 1

    def test_what_could_not_be_measured_is_null(self) -> None:
        report = exam_report(EXAM, [lesion("a", 150, suvpeak=None, tlg=None)])
        assert (report.lesions[0].suvpeak, report.burden.tlg) == (None, None)

    def test_says_what_was_before_and_what_is_gone(self) -> None:
        links = [
            link("a", "persisting", "E0:a"),
            link("b", "new", None),
            link(None, "resolved, or not described", "E0:c"),
        ]
        prior = {"E0:a": {"suvmax": 6.14}, "E0:c": {"suvmax": 5.0, "organ": "liver", "laterality": None}}
        report = exam_report(EXAM, [lesion("a", 150), lesion("b", 90)], links, prior)
        said = [one.sentence for one in report.lesions]
        assert "previously 6.1" in said[0]
        assert "new since the prior exam" in said[1]
        assert [(one.organ, one.prior_suvmax) for one in report.gone] == [("liver", 5.0)]
        assert [one.tracked_as for one in report.lesions] == ["E0:a", "E1:b"]

    def test_slice_of_the_peak_where_the_text_names_none(self) -> None:
        assert exam_report(EXAM, [lesion("a", 150, slice=None)]).lesions[0].slice == 50

    def test_is_read_back_as_it_is(self) -> None:
        rows = [
            lesion("a", 150),
            lesion("b", 120, organ="lymph node", subsite="axillary", laterality="right", suvmax=4.0),
            lesion("c", 60, organ="liver", subsite=None, laterality=None, region="abdomen/pelvis", suvmax=12.4),
            lesion("d", 20, **BLADDER, suvmax=66.0),
        ]
        report = exam_report(EXAM, rows, [link("a", "persisting", "E0:a")], {"E0:a": {"suvmax": 6.1}})
        assert round_trip([vars(one) for one in report.lesions], "E1", report.text) == (4, 4)


@pytest.mark.parametrize(
    ("organ", "subsite", "laterality"),
    [
        ("lung", "left upper lobe", "left"),
        ("lymph node", "para-aortic", None),
        ("muscle", "gluteal", "left"),
        ("kidney", "renal pelvis", "right"),
        ("vertebra", "L5", None),
        ("scapula", None, "right"),
    ],
)
def test_words_of_a_place_are_read_as_this_place(organ: str, subsite: str | None, laterality: str | None) -> None:
    read = structure(f"Lesion in the {place_words(organ, subsite, laterality)} with SUVmax 5.0 (slice 9).")
    assert (read.organ, read.laterality) == (organ, laterality)


@pytest.mark.parametrize(
    ("organ", "subsite", "laterality", "words"),
    [
        ("lymph node", "para-aortic", None, "the para-aortic lymph node"),
        ("lymph node", "axillary", "right", "the right axillary lymph node"),
        ("muscle", "gluteal", "left", "the left gluteal muscle"),
        ("leg", "popliteal", "left", "the left popliteal region"),
        ("femur", "head", "right", "the right femoral head"),
        ("vertebra", "L5", None, "the L5 vertebra"),
        ("liver", "segment 4", None, "segment 4 of the liver"),
        ("pancreas", "head", None, "the head of the pancreas"),
        ("brain", "ventricle", None, "the brain (ventricle)"),  # No more than is known: neither the third nor another.
        ("lung", "left upper lobe", "left", "the left upper lobe"),
        ("heart", None, "left", "the left heart"),
    ],
)
def test_places_are_worded_as_reports_word_them(
    organ: str, subsite: str | None, laterality: str | None, words: str
) -> None:
    row = lesion("a", 150, organ=organ, subsite=subsite, laterality=laterality)
    assert f" in {words} with SUVmax " in exam_report(EXAM, [row]).lesions[0].sentence


def test_no_place_of_the_lexicon_loses_its_organ_or_ends_with_an_adjective() -> None:
    terms = package_vocabulary().lexicon.terms.values()
    places = sorted({(term.organ, term.subsite) for term in terms if term.organ and term.subsite})
    worded = {place: place_words(*place, None) for place in places}
    unread = {place for place, words in worded.items() if structure(f"Lesion in the {words}.").organ != place[0]}
    assert unread == set()
    endings = {words.split()[-1] for words in worded.values() if words.endswith(("al", "ar", "ary", "ic", "iac"))}
    assert endings == {"metacarpal", "metatarsal", "navicular"}


class TestPages:
    def pages(self, report: ExamReport) -> list[str]:
        return [markdown_page(report), html_page(report)]

    def test_are_marked_as_a_draft_and_say_where_sentences_come_from(self) -> None:
        for page in self.pages(exam_report(EXAM, [lesion("a", 150)])):
            assert DRAFT in page
            assert "by no trained model" in page
            assert "8.2" in page

    def test_say_why_there_is_no_comparison(self) -> None:
        alone = ReportedExam("E1", "P1", None, None, 200, no_comparison="first exam")
        assert all("first exam" in page for page in self.pages(exam_report(alone, [])))

    def test_keep_markup_of_a_name_as_text(self) -> None:
        report = exam_report(ReportedExam("<b>E</b>", "P1", None, None, 200), [])
        assert "<b>E</b>" not in html_page(report)

    def test_show_a_model_text_beside_the_sentence(self) -> None:
        texts = {"E1:a": {"model": "petar", "text_measured": "Organ: lung. Findings: Avid nodule."}}
        report = exam_report(EXAM, [lesion("a", 150)], texts=texts)
        assert all("Avid nodule" in page for page in self.pages(report))
