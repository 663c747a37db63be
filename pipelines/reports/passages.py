"""Passages: what readers read, a heading with its sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from pipelines.reports.sentences import NEITHER, Sentence
from pipelines.reports.vocabulary.text import squeeze
from pipelines.reports.vocabulary.vocabulary import Vocabulary, package_vocabulary

MAX_PASSAGE_CHARS = 1200
"""Longer ones are split between sentences: an answer of one request stays short, and a model sees one region at a
time. Chosen; a report of 3,000 characters is five requests with its headings."""
MAX_CONTEXT_CHARS = 300
"""Of the report's comparison line, which stands in every passage."""


@dataclass(frozen=True)
class Passage:
    """Neighbouring sentences under one heading, numbered from 1 in `text`; `comparison` is what the report says of the
    exam that it compares with.
    """

    passage_id: str
    exam_id: str
    section: str | None
    comparison: str | None
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """The passage as a language model reads it."""
        lines = [f"Heading: {squeeze(self.section)}"] if self.section else []
        lines += [f"Compared with: {self.comparison}"] if self.comparison else []
        lines += [f"{n}. {squeeze(s.sentence)}" for n, s in enumerate(self.sentences, start=1)]
        return "\n".join(lines)


def passages_of(sentences: Sequence[Sentence], vocabulary: Vocabulary | None = None) -> list[Passage]:
    """The passages of one exam that name uptake, an SUV, a slice or a lesion, in reading order.

    Args:
        sentences: all of the report, in reading order.
        vocabulary: by default the package's.
    """
    words = vocabulary or package_vocabulary()
    comparison = _comparison(sentences, words)
    out = []
    for part in _parts(sentences):
        if any(is_worth_reading(s, words) for s in part):
            told = None if part[0].section and _is_comparison(part[0].section, words) else comparison
            content = repr((part[0].section, told, [s.sentence_id for s in part]))
            name = blake2b(content.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
            out.append(Passage(f"{part[0].exam_id}:{name}", part[0].exam_id, part[0].section, told, tuple(part)))
    return out


def is_worth_reading(sentence: Sentence, vocabulary: Vocabulary) -> bool:
    """Whether a sentence names uptake, an SUV, a slice or a lesion."""
    words = vocabulary.of(sentence.language)
    # What a language without a glossary names is not known here.
    if sentence.candidate_reason != NEITHER or not words.is_read:
        return True
    return words.cues["lesion_mention"].search(words.read(sentence.sentence).text) is not None


def _parts(sentences: Sequence[Sentence]) -> Iterator[list[Sentence]]:
    part: list[Sentence] = []
    length = 0
    for sentence in sentences:
        n = len(sentence.sentence)
        if part and (sentence.section != part[0].section or length + n > MAX_PASSAGE_CHARS):
            yield part
            part, length = [], 0
        part.append(sentence)
        length += n
    if part:
        yield part


def _is_comparison(section: str, words: Vocabulary) -> bool:
    return words.cues["heading_comparison"].search(section.lower()) is not None


def _comparison(sentences: Sequence[Sentence], words: Vocabulary) -> str | None:
    told = [s.sentence for s in sentences if s.section and _is_comparison(s.section, words)]
    return squeeze(" ".join(told))[:MAX_CONTEXT_CHARS] or None
