"""Given lesions of an exam, as its row of `exams` lists them for the later stages."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GivenLesion:
    """One lesion of a given mask.

    Args:
        finding_id: its finding.
        text: what is said of it, else a sentence of what is measured on its mask.
        is_composed: the text is that sentence.
        replaces: the finding of the report whose grown mask it replaces; null: it is a lesion of its own.
        mask_path: its cropped mask, under PETAR_HOME.
    """

    finding_id: str
    text: str
    is_composed: bool
    replaces: str | None
    mask_path: str


def given_lesions_of(exam: Mapping[str, Any]) -> list[GivenLesion]:
    """The given lesions of a row of `exams`."""
    return [GivenLesion(**one) for one in json.loads(exam["given_masks"] or "[]")]
