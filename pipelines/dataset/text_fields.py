"""What a text says of a lesion, field by field, and how many fields of texts are right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipelines.dataset import samples
from pipelines.reports.structure import structure

_SUVMAX = re.compile(
    r"\bSUV(?:bw)?[\s_-]*max\w*\b\D{0,15}(\d+(?:\.\d+)?)|\bmax\w*[\s_-]*SUV\b\D{0,15}(\d+(?:\.\d+)?)", re.I
)
_SUV = re.compile(r"\bSUV(?![\s_-]*(?:mean|peak))\w*\b\D{0,15}(\d+(?:\.\d+)?)", re.I)
_SLICE = re.compile(r"\b(?:slices?|images?)\b\D{0,8}(\d+)", re.I)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class TextFields:
    """What a text says of a lesion; null where it does not say."""

    region: str | None
    organ: str | None
    subsite: str | None
    laterality: str | None
    comparison: str
    suvmax: float | None
    slice: int | None


@lru_cache(maxsize=65_536)
def fields_of(text: str) -> TextFields:
    """Fields of a text: those that it states by label ("Organ: lung."), the others from its words by the report's
    rules.

    A text with labels is read in its findings only, so that a field that it leaves out is not taken from another
    field's label.
    """
    stated = samples.parse(text)
    words = stated.get("findings", "" if stated else text)
    free = structure(words)
    suvmax = stated.get("suvmax") or _first(_SUVMAX, words) or _first(_SUV, words)
    slice_number = stated.get("slice") or _first(_SLICE, words)
    return TextFields(
        plain_words(stated.get("region") or free.region),
        plain_words(stated.get("organ") or free.organ),
        plain_words(stated.get("subsite") or free.subsite),
        plain_words(stated.get("laterality") or free.laterality),
        plain_words(stated.get("comparison") or free.comparison) or "none",
        _number(suvmax),
        None if (value := _number(slice_number)) is None else round(value),
    )


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return next((group for group in match.groups() if group), None) if match else None


def _number(words: str | None) -> float | None:
    match = _NUMBER.search(words or "")
    return float(match[0]) if match else None


def plain_words(words: str | None) -> str | None:
    """Words in lower case with single spaces; None for none."""
    return " ".join(words.lower().split()) if words and words.strip() else None


PLACE_FIELDS = ("region", "organ", "laterality")
"""Fields that a model must see in the images: numbers are measured, and the rest follows from these."""


def field_accuracy(texts: Sequence[str], references: Sequence[str]) -> float | None:
    """Mean over region, organ and side of the share of texts that say what the reference says; a reference without the
    field does not count. None where no reference has any.

    Args:
        texts: of a model; an empty one is wrong.
        references: one for each text.
    """
    pairs = [(fields_of(text), fields_of(reference)) for text, reference in zip(texts, references, strict=True)]
    shares = []
    for name in PLACE_FIELDS:
        said = [(getattr(own, name), expected) for own, ref in pairs if (expected := getattr(ref, name)) is not None]
        if said:
            shares.append(sum(own == expected for own, expected in said) / len(said))
    return sum(shares) / len(shares) if shares else None
