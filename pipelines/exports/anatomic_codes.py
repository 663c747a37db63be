"""SNOMED CT codes of organs, regions and sides, as the lexicon of reports names them."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SNOMED_CT = "SCT"
"""Coding scheme designator of SNOMED CT in DICOM (PS3.16, 8)."""


@dataclass(frozen=True)
class AnatomicCode:
    """A concept of SNOMED CT: its code and what it means."""

    value: str
    meaning: str


@cache
def _table() -> dict[str, AnatomicCode]:
    text = (files(__package__) / "anatomic_codes.csv").read_text(encoding="utf-8")
    return {row["place"]: AnatomicCode(row["code"], row["meaning"]) for row in csv.DictReader(text.splitlines())}


def known_codes() -> dict[str, str]:
    """Every code that a place or a side has, with its meaning."""
    return {code.value: code.meaning for code in _table().values()}


def place_code(organ: str | None, region: str | None) -> AnatomicCode | None:
    """The code of an organ, else of its region; null where neither has one (a text may name any organ)."""
    table = _table()
    return table.get((organ or "").lower()) or table.get((region or "").lower())


def side_code(laterality: str | None) -> AnatomicCode | None:
    """The code of a side (left, right, bilateral, midline); null where the text names none."""
    return _table().get((laterality or "").lower())
