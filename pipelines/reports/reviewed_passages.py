"""Sentences whose lesions reviewers have confirmed or corrected, as labelled texts for scorecard and training."""

import polars as pl

from pipelines.reports.scorecard import VALUES_ARE_KNOWN, Labelled
from pipelines.tables.outcomes import Outcome

REVIEWED = "reviewed"
_TEXT_IS_RIGHT = ("accept", "wrong contour")
"""Answers under which what was read of the sentence stands."""


def reviewed_passages(sentences: pl.DataFrame, findings: pl.DataFrame, reviews: pl.DataFrame) -> list[Labelled]:
    """The sentences all of whose findings were judged or corrected, with the pairs of slice and SUVmax that they hold.

    A sentence with a finding that nobody judged, that was called misread without a correction, or that reviewers judge
    differently is left out: its truth is not known.

    Args:
        sentences: columns sentence_id, sentence, section, language.
        findings: columns finding_id, sentence_id, slice, suvmax_reported, outcome, text_evidence, corrected.
        reviews: columns finding_id, answer, is_stale.
    """
    answers: dict[str, set[str]] = {}
    for row in reviews.filter(~pl.col("is_stale") & (pl.col("answer") != "unsure")).iter_rows(named=True):
        answers.setdefault(row["finding_id"], set()).add(row["answer"])
    texts = {row["sentence_id"]: row for row in sentences.iter_rows(named=True)}
    out = []
    for (sentence_id,), own in findings.group_by("sentence_id", maintain_order=True):
        rows = own.to_dicts()
        text = texts.get(str(sentence_id))
        if text is None or not all(_is_known(row, answers.get(row["finding_id"], set())) for row in rows):
            continue
        pairs = tuple((row["slice"], row["suvmax_reported"]) for row in rows if _is_lesion(row))
        out.append(
            Labelled(
                f"{text['section']}: {text['sentence']}" if text["section"] else text["sentence"],
                pairs,
                None,
                rows[0]["text_evidence"] if pairs else rows[0]["outcome"],
                text["language"] or "en",
                REVIEWED,
            )
        )
    return out


def _is_known(row: dict[str, object], answers: set[str]) -> bool:
    return row["corrected"] is not None or (bool(answers) and answers <= set(_TEXT_IS_RIGHT))


def _is_lesion(row: dict[str, object]) -> bool:
    return Outcome(str(row["outcome"])) in VALUES_ARE_KNOWN and row["suvmax_reported"] is not None
