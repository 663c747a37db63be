"""Kinds of answers that a reviewer gives: judgements of a finding or of a proposal, and corrections made by a click.

All stand in the files that the review pages save. A judgement is a row of `reviews`; a kind with a `field` is a line
of corrections as well, which the next curation applies to a finding. What is judged is told by its id.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Subject(StrEnum):
    """What is judged: a finding of a report, or a proposal, whose id ends with the voxel of its peak."""

    FINDING = "finding"
    PROPOSAL = "proposal"


_PROPOSAL_ID = re.compile(r".+:\d+-\d+-\d+")


def subject_of(name: str) -> Subject:
    """What an id names."""
    return Subject.PROPOSAL if _PROPOSAL_ID.fullmatch(name) else Subject.FINDING


_FINDING, _PROPOSAL, _BOTH = (Subject.FINDING,), (Subject.PROPOSAL,), (Subject.FINDING, Subject.PROPOSAL)


@dataclass(frozen=True)
class AnswerKind:
    """One kind of answer.

    Args:
        name: as the files hold it.
        key: on the keyboard of the pages; empty where the page has another way.
        means: for the page's help.
        of: what it is said of.
        is_judgement: one of them counts for each finding or proposal and reviewer.
        has_place: it is said of the crosshair's place, which is its value (x y z, RAS mm).
        field: of corrections, that it sets.
    """

    name: str
    key: str
    means: str
    of: tuple[Subject, ...] = _FINDING
    is_judgement: bool = True
    has_place: bool = False
    field: str | None = None


ANSWER_KINDS = (
    AnswerKind("accept", "a", "right as it is"),
    AnswerKind("wrong lesion", "l", "the contour lies on another structure than the sentence means"),
    AnswerKind("lesion", "a", "a lesion, its contour usable", _PROPOSAL),
    AnswerKind("wrong contour", "c", "the right lesion, with an outline that is not acceptable", _BOTH),
    AnswerKind("wrong text", "t", "the sentence was misread: numbers, side, organ, several lesions"),
    AnswerKind("physiologic", "p", "normal uptake of its organ, no tumour", _BOTH, field="physiologic"),
    AnswerKind("part of another", "o", "belongs to another proposal", _PROPOSAL),
    AnswerKind("unsure", "u", "not counted", _BOTH),
    AnswerKind("join", "o", "join with the focus at the crosshair", is_judgement=False, has_place=True, field="join"),
    AnswerKind("cut", "x", "cut off the focus at the crosshair", is_judgement=False, has_place=True, field="cut"),
    AnswerKind(
        "missed lesion", "m", "a lesion at the crosshair is missed", is_judgement=False, has_place=True, field="added"
    ),
    AnswerKind("candidate", "", "the candidate that is meant, by its number", is_judgement=False, field="candidate"),
)
MISSED = "missed lesion"
"""The kind that says: here is a lesion which nothing names."""


def _judgements(subject: Subject) -> tuple[str, ...]:
    return tuple(kind.name for kind in ANSWER_KINDS if kind.is_judgement and subject in kind.of)


JUDGEMENTS = {subject: _judgements(subject) for subject in Subject}
"""Names of the judgements of a finding, and of a proposal."""
CLICKS = tuple(kind.name for kind in ANSWER_KINDS if not kind.is_judgement)
"""Names of the kinds that are corrections alone."""
