"""The text that comes with a given mask, as a finding: its fields and its numbers, read as those of a report are."""

from dataclasses import replace

from pipelines.reports.consensus import TextFinding, decide_exam
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from pipelines.reports.structure import structure, without_references
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.settings import ConsensusSettings
from pipelines.tables.outcomes import Outcome


def finding_of_text(
    finding_id: str, exam_id: str, text: str, settings: ConsensusSettings, vocabulary: Vocabulary
) -> TextFinding:
    """The finding of a text that is said of one given mask. It is accepted whatever the text holds: the mask says where
    it is. Its slice and SUVmax are those of the text where that gives one lesion's, else null.

    Args:
        finding_id: its id.
        exam_id: its exam.
        text: as it came with the mask.
        settings: how texts of findings are judged; one reader, the rules, reads it.
        vocabulary: the cohort's words.
    """
    sentences = split_report(exam_id, text, vocabulary)
    readings = RulesReader(vocabulary=vocabulary).read(passages_of(sentences, vocabulary))
    found = decide_exam(sentences, readings, settings.changed(weights={}), vocabulary)
    said = [f for f in found if f.outcome in (Outcome.ACCEPTED, Outcome.SUV_TOO_LOW)]
    fields = structure(text, None, vocabulary)
    of_text = TextFinding(
        finding_id=finding_id,
        sentence_id=finding_id,
        exam_id=exam_id,
        sentence=text,
        start=0,
        end=len(text),
        slice=None,
        suvmax_reported=None,
        outcome=Outcome.ACCEPTED,
        explanation="its mask is given",
        votes=0,
        readers="",
        text=without_references(text, vocabulary),
        **vars(fields),
    )
    if len(said) != 1:
        return of_text
    one = said[0]
    place = one if one.organ or one.region else of_text
    return replace(
        one,
        **{name: getattr(of_text, name) for name in ("finding_id", "sentence_id", "sentence", "start", "end")},
        **{name: getattr(of_text, name) for name in ("text", "outcome", "explanation")},
        **{name: getattr(place, name) for name in ("region", "organ", "subsite", "laterality")},
    )
