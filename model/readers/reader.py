"""The reader that a trained tagger is: its numbers, with the fields of the lexicon."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from safetensors.torch import load_file

from model.readers.tagger import Link, Tagger, links_of
from pipelines.reports.mentions import Mention
from pipelines.reports.passages import Passage
from pipelines.reports.readers import Progress, Reading
from pipelines.reports.sentences import Sentence
from pipelines.reports.structure import structure, structure_parts
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary
from pipelines.tables.provenance import code_version

CARD, WEIGHTS = "card.json", "weights.safetensors"


@dataclass(frozen=True)
class TaggerReader:
    """Reads with the tagger in a folder that `petar reader train` wrote. It votes where its card says that it may."""

    name: str
    folder: Path
    vocabulary: Vocabulary = field(default_factory=package_vocabulary)

    @cached_property
    def card(self) -> dict[str, object]:
        """What it was trained and measured with."""
        content: dict[str, object] = json.loads((self.folder / CARD).read_text())
        return content

    @property
    def may_vote(self) -> bool:
        """Whether it read held-out texts better than the rules with every seed."""
        return bool(self.card["may_vote"])

    @cached_property
    def version(self) -> str:
        """Of its weights, and of the code that reads with them."""
        digest = blake2b((self.folder / WEIGHTS).read_bytes(), digest_size=6).hexdigest()
        return f"tagger/{digest}/{int(self.may_vote)}/{code_version(__name__)}{self.vocabulary.suffix}"

    @cached_property
    def _tagger(self) -> Tagger:
        tagger = Tagger(int(str(self.card["width"])), int(str(self.card["hidden"])))
        tagger.load_state_dict(load_file(str(self.folder / WEIGHTS)))
        return tagger

    def read(self, passages: Sequence[Passage], progress: Progress | None = None) -> list[Reading]:
        """One reading a passage, in the order of the passages."""
        texts = [joined(p) for p in passages]
        out = []
        for n, (passage, links) in enumerate(zip(passages, links_of(self._tagger, texts), strict=True), start=1):
            ids = tuple(s.sentence_id for s in passage.sentences)
            mentions = tuple(mentions_of(passage, links, self.vocabulary))
            out.append(Reading(passage.passage_id, ids, self.name, self.version, mentions))
            if progress is not None and n == len(passages):
                progress(n, n)
        return out


def load_tagger(name: str, folder: Path, vocabulary: Vocabulary) -> TaggerReader:
    """The reader of a readers' file: `kind = "python"`, `factory = "model.readers.reader:load_tagger"`.

    Raises:
        ValueError: the folder holds no trained tagger.
    """
    reader = TaggerReader(name, folder, vocabulary)
    missing = [file for file in (CARD, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        raise ValueError(f"no {missing[0]} in {folder} (petar reader train writes it)")
    return reader


def joined(passage: Passage) -> str:
    """A passage as the tagger reads it: the sentences one behind the other."""
    return " ".join(s.sentence for s in passage.sentences)


def mentions_of(passage: Passage, links: Sequence[Link], vocabulary: Vocabulary) -> list[Mention]:
    """Mentions of the SUVs and slices of a passage's text, with fields by rules and lexicon."""
    out = []
    begin = 0
    for sentence in passage.sentences:
        end = begin + len(sentence.sentence)
        own = [x for x in links if begin <= x.suv_span[0] < end]
        out += _of_sentence(passage, sentence, begin, own, vocabulary.of(sentence.language))
        begin = end + 1
    return out


def _of_sentence(
    passage: Passage, sentence: Sentence, begin: int, links: Sequence[Link], words: Vocabulary
) -> list[Mention]:
    if not links:
        return []
    text, length = sentence.sentence, len(sentence.sentence)
    ends = [0, *(min(max(x.suv_span[1], (x.slice_span or (0, 0))[1]) - begin, length) for x in links)]
    spans = [(min(a, b), b) for a, b in zip(ends, [*ends[1:-1], length], strict=False)]
    fields = structure_parts(text, spans, sentence.section, words) if len(links) > 1 else None
    out = []
    for n, link in enumerate(links):
        own = fields[n] if fields else structure(text, sentence.section, words)
        out.append(
            Mention(
                _cited(passage, sentence, link),
                slice=link.slice,
                suv=link.suv,
                suv_kind="max",
                region=own.region,
                organ=own.organ,
                subsite=own.subsite,
                laterality=own.laterality,
                comparison=own.comparison,
            )
        )
    return out


def _cited(passage: Passage, sentence: Sentence, link: Link) -> tuple[str, ...]:
    """The sentence of the SUV, and the one of its slice where that is another."""
    if link.slice_span is None:
        return (sentence.sentence_id,)
    begin = 0
    for other in passage.sentences:
        if begin <= link.slice_span[0] < begin + len(other.sentence):
            return tuple(dict.fromkeys((sentence.sentence_id, other.sentence_id)))
        begin += len(other.sentence) + 1
    return (sentence.sentence_id,)
