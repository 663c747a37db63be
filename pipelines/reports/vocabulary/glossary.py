"""Reports of other languages in the words of the English cues and lexicon.

A glossary gives for words and phrases of a language the English ones of `cues.toml` and `lexicon.csv`. A text is put
into these words, read by the rules of English, and what is found is given back its place in the text.
"""

import bisect
import functools
import itertools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.reports.vocabulary.errors import VocabularyError

FOLDER = Path(__file__).parent / "languages"
LANGUAGES = ("en", *sorted(path.stem for path in FOLDER.glob("??.toml")))
"""Languages (ISO 639-1) that the rules read."""

_PART = re.compile(r"[^\W\d_]+")
_JOINS = re.compile(r"[\s./'’-]*")
"""What may stand between the words of a phrase."""
_MAX_LETTERS = 40
"""A longer word is no word of a report: its beginnings and parts are not looked up."""
_MAX_KNOWN = 50_000
"""Words whose entries are kept in memory."""
_MIN_PART = 3
"""Letters that each part of a compound has at least."""
_MAX_ENDING = 2
"""Letters of an ending that leaves a word what it is ("Nebennieren"); what is longer may be a part of a compound."""
_NUMBER_AFTER = re.compile(r"\s?(?=\d)")
_KEYS = {"decimal", "compound_joints", "from_to", "function_words", "words", "places"}


@dataclass(frozen=True)
class Translation:
    """A text in English words; `starts` and `ends` hold for each of its pieces where it begins and what it stands for.

    A piece is (its start in `text`, its start and its end in the original); pieces that are equal in both have their
    own length in the original.
    """

    text: str
    pieces: tuple[tuple[int, int, int], ...] = ()

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that a half-open span of this one stands for."""
        if not self.pieces:
            return start, end
        return self._at(start, is_end=False), self._at(end, is_end=True)

    def _at(self, position: int, *, is_end: bool) -> int:
        n = bisect.bisect_right(self._starts, position - is_end) - 1
        begin, first, last = self.pieces[max(n, 0)]
        length = (self.pieces[n + 1][0] if n + 1 < len(self.pieces) else len(self.text)) - begin
        if length == last - first:
            return first + position - begin
        return last if is_end else first

    @cached_property
    def _starts(self) -> list[int]:
        return [begin for begin, _, _ in self.pieces]


@dataclass(frozen=True, eq=False)
class Glossary:
    """English words by the phrases of a language (words in lower case, `*` any ending), and how it writes numbers.

    `compound_joints` are what may stand between the parts of a compound, empty for a language without compounds.
    `from_to` are the words before the two values of a change ("de 3,1 à 6,9"). English of the form "t+ thoracic spine"
    is glued to a number behind it, and stands for what follows the blank without one. `abbreviations` are the words
    whose full stop ends no sentence, also before a number ("prec. 5,1"); their entries are written with it.
    """

    entries: Mapping[tuple[str, ...], str]
    function_words: frozenset[str]
    decimal: str = "."
    compound_joints: tuple[str, ...] = ()
    from_to: tuple[str, str] = ("", "")
    abbreviations: frozenset[str] = frozenset()

    @cached_property
    def _by_first(self) -> dict[str, list[tuple[tuple[str, ...], str]]]:
        out: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for words, english in sorted(self.entries.items(), key=lambda e: (-len(e[0]), -len(" ".join(e[0])))):
            out.setdefault(words[0], []).append((words, english))
        return out

    def knows(self, word: str) -> bool:
        """Whether a word of lower-case letters begins an entry or is a compound of entries."""
        known = self._is_known.get(word)
        if known is None:
            known = bool(self._candidates(word)) or (bool(self.compound_joints) and self._compound(word) is not None)
            if len(self._is_known) < _MAX_KNOWN:
                self._is_known[word] = known
        return known

    def translated(self, text: str) -> Translation:
        """A text that `text.clean` has passed in English words; what the glossary lacks stays as it is."""
        return _translated(self, text)

    @cached_property
    def _is_known(self) -> dict[str, bool]:
        return {}

    @cached_property
    def _known(self) -> dict[str, list[tuple[tuple[str, ...], str]]]:
        return {}

    def _candidates(self, word: str) -> list[tuple[tuple[str, ...], str]]:
        """Entries whose first word is this one, exact ones before those of any ending, longest beginnings first."""
        found = self._known.get(word)
        if found is None and len(word) > _MAX_LETTERS:
            return []
        if found is None:
            found = list(self._by_first.get(word, ()))
            for n in range(len(word), 1, -1):
                found += self._by_first.get(word[:n] + "*", ())
            if not found and self.compound_joints and word.endswith("s"):
                # The genitive: "des Rektums".
                stem = word[:-1]
                found += [((stem + "*", *phrase[1:]), english) for phrase, english in self._by_first.get(stem, ())]
            if len(self._known) < _MAX_KNOWN:
                self._known[word] = found
        return found

    def entry_at(self, text: str, words: list[re.Match[str]], i: int) -> tuple[int, str] | None:
        """How many words from the i-th on are an entry, and its English; the longest phrase counts."""
        word = words[i][0].lower()
        if text[words[i].end() : words[i].end() + 1].isdigit() and self.entries.get((word,), "")[1:2] != "+":
            return None
        best: tuple[int, str] | None = None
        for phrase, english in self._candidates(word):
            n = len(phrase)
            if (best is not None and n <= best[0]) or i + n > len(words):
                continue
            own = words[i : i + n]
            if n > 1 and any(text[w.end() : w.end() + 1].isdigit() for w in own):
                continue
            if not all(_fits(p, w[0].lower()) for p, w in zip(phrase, own, strict=True)):
                continue
            if all(_JOINS.fullmatch(text, a.end(), b.start()) for a, b in itertools.pairwise(own)):
                best = n, english
        if (
            self.compound_joints
            and len(word) > 2 * _MIN_PART
            and (best is None or best[0] == 1)
            and not self._is_inflected(word)
        ):
            # A compound goes before an entry with any ending: "nebenniere*" is no "nebennierenmetastase".
            parts = self._compound(word)
            return best if parts is None else (1, parts)
        return best

    def _is_inflected(self, word: str) -> bool:
        """Whether a word is an entry, or the beginning of one with an ending of its case or number."""
        single = (phrase[0] for phrase, _ in self._candidates(word) if len(phrase) == 1)
        return any(len(word) - len(start.rstrip("*")) <= _MAX_ENDING for start in single)

    def _compound(self, word: str) -> str | None:
        """The English of a compound whose parts are entries."""
        if len(word) > _MAX_LETTERS:
            return None
        for cut in range(len(word) - _MIN_PART, _MIN_PART - 1, -1):
            last = self._single(word[cut:])
            if last is None:
                continue
            for joint in self.compound_joints:
                first = word[: cut - len(joint)] if joint and word[:cut].endswith(joint) else word[:cut]
                if joint and len(first) == cut:
                    continue
                english = self._single(first) or (self._compound(first) if len(first) > 2 * _MIN_PART else None)
                if english is not None:
                    return f"{english} {last}"
        return None

    def _single(self, word: str) -> str | None:
        return next((english for phrase, english in self._candidates(word) if len(phrase) == 1), None)


def _fits(pattern: str, word: str) -> bool:
    return word.startswith(pattern[:-1]) if pattern.endswith("*") else word == pattern


@functools.lru_cache(maxsize=256)
def _translated(glossary: Glossary, text: str) -> Translation:
    if glossary.decimal == ",":
        text = re.sub(r"(?<=\d),(?=\d{1,2}(?!\d))", ".", text)
        text = re.sub(
            r"(?<!\d)(\d{1,2})\.(?= [^\W\d_]{3})", lambda m: m[1] + ("." if _is_list_mark(text, m) else " "), text
        )
    words = list(_PART.finditer(text))
    changes = _changes(glossary, text)
    out: list[str] = []
    pieces: list[tuple[int, int, int]] = []
    length = position = i = 0
    while i < len(words):
        change = changes.get(words[i].start())
        hit = (1, change) if change else glossary.entry_at(text, words, i)
        n, english = hit or (1, words[i][0])
        start, end = words[i].start(), words[i + n - 1].end()
        if english[1:2] == "+":
            number = _NUMBER_AFTER.match(text, end)
            english, end = (english[0], number.end()) if number else (english[3:], end)
        if hit is not None and words[i][0][0].isupper():
            english = english[:1].upper() + english[1:]
        if hit is not None and text[end : end + 1] in ("'", "’"):
            # "l'examen" is two words.
            english, end = english + " ", end + 1
        elif (
            hit is not None
            and text[end : end + 1] == "."
            and (
                words[i + n - 1][0].lower() in glossary.abbreviations
                or _is_abbreviation(words[i + n - 1][0], text, end)
            )
        ):
            end += 1
        for piece, first, last in ((text[position:start], position, start), (english, start, end)):
            if piece or first < last:
                pieces.append((length, first, last))
                out.append(piece)
                length += len(piece)
        position = end
        i += n
    if position < len(text):
        pieces.append((length, position, len(text)))
        out.append(text[position:])
    return Translation("".join(out), tuple(pieces))


def _changes(glossary: Glossary, text: str) -> dict[int, str]:
    """English of the words before the two values of a change, by where they start."""
    out: dict[int, str] = {}
    first, second = glossary.from_to
    if first:
        number = r"\s+\d+(?:\.\d+)?"
        # "de SUVmáx 4.0 a 7.2"
        word = r"(?:\s+suv[\s_-]?m\w+)?"
        for match in re.finditer(rf"\b({first}){word}{number}\s+({second})(?={number})", text, re.IGNORECASE):
            out |= {match.start(1): "from", match.start(2): "to"}
    return out


def _is_list_mark(text: str, match: re.Match[str]) -> bool:
    """Whether "1." opens a line or follows the end of a sentence, so that it is no ordinal ("12. März")."""
    before = text[: match.start()].rstrip(" (")
    return not before or before[-1] in "\n.:;!?"


def _is_abbreviation(word: str, text: str, end: int) -> bool:
    """Whether the full stop behind a word is its own: of a word of up to two letters, or before a lower-case word."""
    following = text[end + 1 :].lstrip()
    return len(word) <= 2 or (bool(following) and following[0].islower())


@functools.cache
def load_glossary(language: str) -> Glossary:
    """The glossary of one of LANGUAGES other than English.

    Raises:
        VocabularyError: the file holds an unknown key or an entry that is no text.
    """
    path = FOLDER / f"{language}.toml"
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    unknown = sorted(set(content) - _KEYS)
    if unknown:
        raise VocabularyError(path, 1, 1, f"one of {', '.join(sorted(_KEYS))}", unknown[0], "rename the key")
    entries = {
        tuple(re.findall(r"[^\W\d_]+\*?", phrase.lower())): english
        for table in ("words", "places")
        for phrase, english in content[table].items()
    }
    return Glossary(
        entries,
        frozenset(content["function_words"]),
        content["decimal"],
        tuple(content.get("compound_joints", ())),
        tuple(content["from_to"]),
        frozenset(phrase[:-1] for phrase in content["words"] if phrase.endswith(".")),
    )
