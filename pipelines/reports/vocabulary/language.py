"""Which language a report is written in."""

import functools
import re
import tomllib
from collections import Counter

from pipelines.reports.vocabulary.cues import load_cues
from pipelines.reports.vocabulary.glossary import FOLDER, LANGUAGES, load_glossary
from pipelines.reports.vocabulary.lexicon import WORD, load_lexicon

OTHERS_FILE = FOLDER / "others.toml"
UNKNOWN = "und"
"""ISO 639-2 for a language that is not determined."""

_WORD = re.compile(r"[^\W\d_]+")
_MAX_WORDS = 400
"""A report tells its language within its first words."""
_LEAST = 1.0
"""Evidence that another language than English needs at least; a function word counts 1, a word of its glossary 0.5."""


def language_of(text: str) -> str:
    """ISO 639-1 code of a text's language, by its script and its different words; `und` where they do not tell.

    A text with next to no evidence ("RUL nodule SUVmax 4.2") is taken for English.
    """
    words = [w.lower() for w in _WORD.findall(text)[:_MAX_WORDS]]
    letters = "".join(words)
    scripts = Counter(script for c in letters if not c.isascii() and (script := _script(c)) is not None)
    if scripts and scripts.total() >= len(letters) / 4:
        # Japanese has Chinese letters too.
        return "ja" if scripts["ja"] else scripts.most_common(1)[0][0]
    evidence: dict[str, float] = {"en": 0.0}
    for word in dict.fromkeys(words):
        for language, weight in _evidence(word):
            evidence[language] = evidence.get(language, 0.0) + weight
    best = max(sorted(evidence), key=lambda x: (evidence[x], x == "en"))
    if evidence[best] >= _LEAST and best != "en":
        return best
    return UNKNOWN if evidence["en"] < _LEAST and not all(w.isascii() for w in words) else "en"


@functools.lru_cache(maxsize=100_000)
def _evidence(word: str) -> tuple[tuple[str, float], ...]:
    """What a word in lower case says for which languages."""
    if len(word) < 2:
        return ()
    found: dict[str, float] = {}
    if len(word) > 3 and word not in _shared():
        known = [x for x in LANGUAGES[1:] if load_glossary(x).knows(word)]
        known += ["en"] * bool({word, word.removesuffix("s")} & _english())
        found = dict.fromkeys(known, 0.5)
    return tuple((found | dict.fromkeys(_function_words().get(word, ()), 1.0)).items())


@functools.cache
def _others() -> dict[str, dict[str, list[str]]]:
    content: dict[str, dict[str, list[str]]] = tomllib.loads(OTHERS_FILE.read_text(encoding="utf-8"))
    return content


@functools.cache
def _function_words() -> dict[str, tuple[str, ...]]:
    """Languages by function word."""
    lists = {**_others()["function_words"], **{x: load_glossary(x).function_words for x in LANGUAGES[1:]}}
    out: dict[str, tuple[str, ...]] = {}
    for language, words in lists.items():
        for word in words:
            out[word] = (*out.get(word, ()), language)
    return out


@functools.cache
def _shared() -> frozenset[str]:
    return frozenset(_others()["shared"]["words"])


@functools.cache
def _english() -> frozenset[str]:
    """Words of the lexicon's phrases and of the cues."""
    cues = (literal for category in load_cues().categories.values() for literal in category.literals)
    return frozenset(word for phrase in (*load_lexicon().terms, *cues) for word in WORD.findall(phrase))


def _script(letter: str) -> str | None:
    """The language that a script is taken for, null for Latin letters."""
    code = ord(letter)
    for language, (first, last) in _ranges().items():
        if first <= code <= last:
            return language
    return None


@functools.cache
def _ranges() -> dict[str, tuple[int, int]]:
    return {x: (int(a, 16), int(b, 16)) for x, (a, b) in _others()["scripts"].items()}
