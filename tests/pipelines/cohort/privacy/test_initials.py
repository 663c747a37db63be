"""Initials of people: where they are found, and that abbreviations of medicine are none."""

import pytest

from pipelines.cohort.privacy.initials import initial_spans


def found(text: str) -> list[str]:
    return [text[start:end] for _, start, end in initial_spans(text)]


@pytest.mark.parametrize(
    ("text", "initials"),
    [
        ("Dictated by JHT", ["JHT"]),
        ("Transcribed by kmb; normal.", ["kmb"]),
        ("TW/mlz Dictated and reviewed.", ["TW/mlz"]),
        ("GH:rt D: 2/14/2022", ["GH:rt"]),
        ("Patient A.B. tolerated it.", ["A.B."]),
        ("J.R.M. is a 45-year-old woman", ["J.R.M."]),
        ("Initials: V.K.", ["V.K."]),
    ],
)
def test_are_found_behind_a_cue_and_as_a_typists_mark(text: str, initials: list[str]) -> None:
    assert found(text) == initials


@pytest.mark.parametrize(
    "text",
    [
        "Confirmed by MRI",
        "Seen on PET/CT and MR/pet",
        "performed by CT",
        "Patient FDG dose",
        "RUL:mass",
        "SUV 4.2 by PET",
    ],
)
def test_abbreviations_are_none(text: str) -> None:
    assert found(text) == []
