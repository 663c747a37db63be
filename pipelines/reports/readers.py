"""The protocol of readers, their readings, and the rule reader."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from pipelines.reports.mentions import Mention
from pipelines.reports.passages import Passage
from pipelines.reports.rule_mentions import mentions_of
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.tables.provenance import code_version
from pipelines.tables.report_fields import OTHER_LANGUAGE

Progress = Callable[[int, int], None]
"""Called as (passages done, passages in all)."""


@dataclass(frozen=True)
class Reading:
    """What one reader read in one passage: mentions, in reading order, none where it found none.

    `sentence_ids` are all sentences of the passage. Where the reader failed, `error` says why and there are no
    mentions. `answer` is what a language model said, word for word: a failure with an answer is final, for the model
    would say the same again; a failure without one is asked again by the next run.
    """

    passage_id: str
    sentence_ids: tuple[str, ...]
    reader: str
    reader_version: str
    mentions: tuple[Mention, ...] = ()
    error: str | None = None
    answer: str | None = None

    @property
    def may_be_mended(self) -> bool:
        """Whether another run may give the reading that failed."""
        return self.error is not None and self.answer is None and not self.abstains

    @property
    def abstains(self) -> bool:
        """Whether the reader cannot read the passage's language, so that its vote is not counted."""
        return self.error is not None and self.error.startswith(OTHER_LANGUAGE)


class Reader(Protocol):
    """Reads passages. A reader never raises for one passage: what goes wrong becomes that reading's `error`."""

    @property
    def name(self) -> str:
        """Name under which its readings are stored and its votes counted."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same passage could be read differently."""
        ...

    def read(self, passages: Sequence[Passage], progress: Progress | None = None) -> list[Reading]:
        """One reading a passage, in the order of the passages."""
        ...


def may_vote(reader: Reader) -> bool:
    """Whether a reader's vote counts. One that says `may_vote = False` (trained here, and not shown to be better than
    the rules) orders the review queue alone.
    """
    return bool(getattr(reader, "may_vote", True))


@dataclass(frozen=True)
class RulesReader:
    """Reads by expressions; the embedded default."""

    name: str = "rules"
    vocabulary: Vocabulary = field(default_factory=package_vocabulary)

    @property
    def version(self) -> str:
        """Version of the code that reads, with the cohort's own vocabulary where it has one."""
        return f"rules/{code_version(__name__)}{self.vocabulary.suffix}"

    def read(self, passages: Sequence[Passage], progress: Progress | None = None) -> list[Reading]:
        """One reading a passage, in the order of the passages."""
        out = []
        version = self.version
        for n, passage in enumerate(passages, start=1):
            words = self.vocabulary.of(passage.sentences[0].language)
            mentions = tuple(m for s in passage.sentences for m in mentions_of(s, words)) if words.is_read else ()
            error = None if words.is_read else f"{OTHER_LANGUAGE} ({words.language})"
            ids = tuple(s.sentence_id for s in passage.sentences)
            out.append(Reading(passage.passage_id, ids, self.name, version, mentions, error))
            if progress is not None and (n % 1000 == 0 or n == len(passages)):
                progress(n, len(passages))
        return out


# --- rows of the table -----------------------------------------------------------------------------------------------

_PLAIN = tuple(f.name for f in fields(Mention) if f.name not in ("sentence_ids", "part", "count"))


def rows_of(reading: Reading, sentences: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of `readings`: one a mention, or one without values where there is none.

    Args:
        sentences: the passage's texts by sentence_id.
    """
    # `mention` counts from 1; 0 is the row of a passage without one.
    mentions = reading.mentions or (Mention(reading.sentence_ids),)
    out = []
    for n, mention in enumerate(mentions, start=1 if reading.mentions else 0):
        row: dict[str, Any] = {name: getattr(mention, name) for name in _PLAIN} if n else {}
        if n:
            start, end = mention.part or (None, None)
            row |= {"n_lesions": mention.count, "part_start": start, "part_end": end, "suvmax": mention.suvmax}
        row |= {
            "passage_id": reading.passage_id,
            "passage_sentence_ids": ", ".join(reading.sentence_ids),
            "mention": n,
            "sentence_id": mention.sentence_ids[0],
            "sentence_ids": ", ".join(mention.sentence_ids),
            "sentence": sentences[mention.sentence_ids[0]],
            "reader": reading.reader,
            "reader_version": reading.reader_version,
            "error": reading.error,
            "answer": reading.answer if n <= 1 else None,
        }
        out.append(row)
    return out


def readings_of(rows: Iterable[Mapping[str, Any]]) -> list[Reading]:
    """The readings that rows of one exam were made from, in their order."""
    found: dict[tuple[str, str], Reading] = {}
    for row in rows:
        key = (row["passage_id"], row["reader"])
        if key not in found:
            ids = _ids(row["exam_id"], row["passage_sentence_ids"])
            found[key] = Reading(key[0], ids, key[1], row["reader_version"], (), row["error"], row["answer"])
        if row["mention"]:
            part = None if row["part_start"] is None else (row["part_start"], row["part_end"])
            mention = Mention(
                sentence_ids=_ids(row["exam_id"], row["sentence_ids"]),
                part=part,
                count=row["n_lesions"],
                **{name: row[name] for name in _PLAIN},
            )
            found[key] = replace(found[key], mentions=(*found[key].mentions, mention))
    return list(found.values())


def _ids(exam_id: str, joined: str) -> tuple[str, ...]:
    """The ids of sentences, whose exam's name may hold a comma too."""
    return tuple(re.findall(re.escape(exam_id) + r":[0-9a-f]{8}(?:#\d+)?", joined))
