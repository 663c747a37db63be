"""Sentences as the stages of the reports take them from the lake, and where they stand in the report."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipelines.curation.stages.stage import ShardContext
from pipelines.reports.passages import Passage, passages_of
from pipelines.reports.sentences import Sentence
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.tables.lake import Lake

PLACE = ("start", "end")
"""Where a text stands in the report: an edit above it moves it, and it stays what it is."""


def without_place(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its place in the report."""
    return {name: value for name, value in row.items() if name not in PLACE}


def cohort_passages(lake: Lake, vocabulary: Vocabulary) -> list[Passage]:
    """The passages of every report in the lake, as the readers are asked about them."""
    names = [f.name for f in fields(Sentence)]
    found: dict[str, list[Sentence]] = {}
    for row in lake.read_table("sentences").iter_rows(named=True):
        found.setdefault(row["exam_id"], []).append(Sentence(**{name: row[name] for name in names}))
    return [passage for own in found.values() for passage in passages_of(own, vocabulary)]


def sentences_by_exam(context: ShardContext) -> dict[str, tuple[str, list[Sentence]]]:
    """Patient and sentences of each exam of a shard whose inputs changed; exams whose report holds no sentence stand
    here too.
    """
    found: dict[str, tuple[str, list[Sentence]]] = {
        exam_id: (entry.patient_id, []) for exam_id, entry in context.entries().items()
    }
    names = [f.name for f in fields(Sentence)]
    for row in context.rows("sentences").iter_rows(named=True):
        if row["exam_id"] in found:
            found[row["exam_id"]][1].append(Sentence(**{name: row[name] for name in names}))
    return found
