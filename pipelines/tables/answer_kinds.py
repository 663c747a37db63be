"""Kinds of answers that a reviewer gives: judgements of a finding, and corrections made by a click in the viewer.

Both stand in the files that the review pages save. A judgement is a row of `reviews`; a kind with a `field` is a line
of corrections as well, which the next curation applies.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerKind:
    """One kind of answer.

    Args:
        name: as the files hold it.
        key: on the keyboard of the pages; empty where the page has another way.
        means: for the page's help.
        is_judgement: one of them counts for each finding and reviewer.
        has_place: it is said of the crosshair's place, which is its value (x y z, RAS mm).
        field: of corrections, that it sets.
    """

    name: str
    key: str
    means: str
    is_judgement: bool = True
    has_place: bool = False
    field: str | None = None


ANSWER_KINDS = (
    AnswerKind("accept", "a", "right as it is"),
    AnswerKind("wrong lesion", "l", "the contour lies on another structure than the sentence means"),
    AnswerKind("wrong contour", "c", "on the right one, with an outline that is not acceptable"),
    AnswerKind("wrong text", "t", "the sentence was misread: numbers, side, organ, several lesions"),
    AnswerKind("physiologic", "p", "normal uptake of its organ, no tumour", field="physiologic"),
    AnswerKind("unsure", "u", "not counted"),
    AnswerKind("join", "o", "join with the focus at the crosshair", is_judgement=False, has_place=True, field="join"),
    AnswerKind("cut", "x", "cut off the focus at the crosshair", is_judgement=False, has_place=True, field="cut"),
    AnswerKind(
        "missed lesion", "m", "a lesion at the crosshair is missed", is_judgement=False, has_place=True, field="added"
    ),
    AnswerKind("candidate", "", "the candidate that is meant, by its number", is_judgement=False, field="candidate"),
)
JUDGEMENTS = tuple(kind.name for kind in ANSWER_KINDS if kind.is_judgement)
CLICKS = tuple(kind.name for kind in ANSWER_KINDS if not kind.is_judgement)
"""Names of the kinds that are corrections alone."""
