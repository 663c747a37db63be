"""The protocol of readers, their readings, and the rule reader."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.reports.rules.pairs import extract
from pipelines.reports.sentences import Sentence
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.tables.provenance import code_version

Progress = Callable[[int, int], None]
"""Called as (sentences done, sentences in all)."""


@dataclass(frozen=True)
class Reading:
    """What one reader read in one sentence.

    `slice` and `suvmax` are null where the reader found none. `n_lesions` counts the lesions that the values could
    belong to, `is_current` is false where they are a prior exam's. Where the reader failed, `error` says why and all
    values are null. `answer` is what it said, word for word, as JSON; its key `lesions`, where present, lists the pairs
    of a sentence with several lesions.
    """

    sentence_id: str
    reader: str
    reader_version: str
    slice: int | None
    suvmax: float | None
    n_lesions: int | None
    is_current: bool | None
    error: str | None
    answer: str | None

    @property
    def pairs(self) -> tuple[tuple[int, float], ...]:
        """Every (slice, SUVmax) that the reader gives for the sentence; one where the sentence has one lesion."""
        if self.error is not None:
            return ()
        lesions = _lesions_of(self.answer)
        if lesions:
            return lesions
        if self.slice is not None and self.suvmax is not None:
            return ((self.slice, self.suvmax),)
        return ()


def _lesions_of(answer: str | None) -> tuple[tuple[int, float], ...]:
    if not answer or '"lesions"' not in answer:
        return ()
    try:
        lesions = json.loads(answer)["lesions"]
        return tuple((int(entry["slice"]), float(entry["suvmax"])) for entry in lesions)
    except (ValueError, TypeError, KeyError):
        # A model's own words under that key are no list of pairs; the reading's single pair then stands.
        return ()


class Reader(Protocol):
    """Reads sentences. A reader never raises for one sentence: what goes wrong becomes that reading's `error`."""

    @property
    def name(self) -> str:
        """Name under which its readings are stored and its votes counted."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same sentence could be read differently."""
        ...

    def read(self, sentences: Sequence[Sentence], progress: Progress | None = None) -> list[Reading]:
        """One reading a sentence, in the order of the sentences."""
        ...


@dataclass(frozen=True)
class RulesReader:
    """Reads by expressions; the embedded default."""

    name: str = "rules"
    vocabulary: Vocabulary = field(default_factory=package_vocabulary)

    @property
    def version(self) -> str:
        """Version of the code that reads, with the cohort's own vocabulary where it has one."""
        return f"rules/{code_version(__name__)}{self.vocabulary.suffix}"

    def read(self, sentences: Sequence[Sentence], progress: Progress | None = None) -> list[Reading]:
        """One reading a sentence, in the order of the sentences."""
        out = []
        for n, sentence in enumerate(sentences, start=1):
            out.append(self._read_one(sentence))
            if progress is not None and (n % 1000 == 0 or n == len(sentences)):
                progress(n, len(sentences))
        return out

    def _read_one(self, sentence: Sentence) -> Reading:
        found = extract(sentence.sentence, self.vocabulary)
        answer: dict[str, object] = {}
        if found.reason is not None:
            answer = {"reason": found.reason.value, "note": found.note}
        elif len(found.lesions) > 1:
            answer = {"lesions": [{"slice": x.slice, "suvmax": x.suvmax} for x in found.lesions if x.slice]}
        is_single = len(found.lesions) == 1
        return Reading(
            sentence_id=sentence.sentence_id,
            reader=self.name,
            reader_version=self.version,
            slice=found.slice if is_single else None,
            suvmax=found.suvmax if is_single else None,
            n_lesions=found.n_lesions,
            is_current=found.is_current,
            error=None,
            answer=json.dumps(answer),
        )
