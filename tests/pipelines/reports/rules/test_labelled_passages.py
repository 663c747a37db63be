"""Passages written by hand, before the rules were changed for any of them: lesions that are read, and wrong ones."""

import csv
from pathlib import Path

import pytest

from pipelines.reports.rule_mentions import mentions_of
from pipelines.reports.sentences import SUV_AND_SLICE, SUV_ONLY, split_report
from pipelines.reports.vocabulary.vocabulary import package_vocabulary

FOLDER = Path(__file__).parents[1] / "labelled"


def lesions_of(cell):
    """Slice (null for "-") and SUVmax of each lesion of a label."""
    parts = (mention.split(":") for mention in cell.split("; ") if mention)
    return {(None if number == "-" else int(number), float(suvmax)) for number, suvmax, *_ in parts}


def read(text):
    """What is found of this exam, and of that what is called a lesion: labels leave out physiologic uptake."""
    sentences = (s for s in split_report("E", text) if s.candidate_reason in (SUV_AND_SLICE, SUV_ONLY))
    words = package_vocabulary()
    found = [m for s in sentences for m in mentions_of(s, words.of(s.language))]
    # One pair of a sentence that names several lesions is not accepted.
    found = [m for m in found if m.is_finding and m.suvmax is not None and m.count == 1]
    lesions = [m for m in found if m.role == "lesion"]
    return [{(m.axial_slice, m.suvmax) for m in some} for some in (found, lesions)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_lesions_are_read_and_wrong_ones_are_rare(path):
    rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    labelled = [lesions_of(row["mentions"]) for row in rows]
    found = [read(row["text"]) for row in rows]
    n_right = sum(len(a & b) for a, (b, _) in zip(labelled, found, strict=True))
    n_wrong = sum(bool(b - a) for a, (_, b) in zip(labelled, found, strict=True))
    assert n_right >= 0.9 * sum(map(len, labelled))
    assert n_wrong <= 0.05 * len(rows)
