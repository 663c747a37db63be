"""The words that reports are read with: cues and lexicon of the package, with a cohort's own added."""

import functools
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from pipelines.reports.vocabulary.cues import CUES_NAME, Cues, load_cues
from pipelines.reports.vocabulary.glossary import LANGUAGES, Glossary, Translation, load_glossary
from pipelines.reports.vocabulary.lexicon import LEXICON_NAME, Lexicon, load_lexicon
from pipelines.reports.vocabulary.text import clean, lower


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Cues and lexicon, with the glossary that puts another language into their words.

    `language` is the one (ISO 639-1) of the texts that are to be read; where there is no glossary of it, nothing is.
    `version` is a hash of what a cohort adds to the package's, "" where it adds nothing.
    """

    cues: Cues
    lexicon: Lexicon
    version: str = ""
    glossary: Glossary | None = None
    language: str = "en"

    @property
    def suffix(self) -> str:
        """What the version of a reader that uses it ends with."""
        return f"+{self.version}" if self.version else ""

    def of(self, language: str | None) -> "Vocabulary":
        """This vocabulary for texts of a language (ISO 639-1; null is English)."""
        return _of(self, language or "en")

    @property
    def is_read(self) -> bool:
        """Whether the rules read the language."""
        return self.language in LANGUAGES

    @property
    def english(self) -> "Vocabulary":
        """The cues and the lexicon alone, for text that is in English words already."""
        return self if self.glossary is None else _of(self, "en")

    def in_english(self, text: str) -> Translation:
        """A text in the words of the cues and the lexicon, with its case."""
        flat = self.cues.with_digits(clean(text))
        return self.glossary.translated(flat) if self.glossary is not None else Translation(flat)

    def read(self, text: str) -> Translation:
        """A text as the rules read it: in the words of the cues and the lexicon, cleaned, in lower case."""
        translation = self.in_english(text)
        return Translation(lower(translation.text), translation.pieces)


@functools.lru_cache(maxsize=32)
def _of(vocabulary: Vocabulary, language: str) -> Vocabulary:
    glossary = load_glossary(language) if language in LANGUAGES[1:] else None
    is_same = vocabulary.language == language
    return vocabulary if is_same else replace(vocabulary, glossary=glossary, language=language)


@functools.cache
def package_vocabulary() -> Vocabulary:
    """The vocabulary of the package alone."""
    return Vocabulary(load_cues(), load_lexicon())


def load_vocabulary(cohort_folder: Path) -> Vocabulary:
    """The package's vocabulary, with `cues.toml` and `lexicon.csv` of a cohort folder where it has them.

    Raises:
        VocabularyError: a row of either file is wrong.
    """
    own = [path if path.is_file() else None for path in (cohort_folder / CUES_NAME, cohort_folder / LEXICON_NAME)]
    return _loaded(*((path, path.read_bytes()) if path else None for path in own))


@functools.lru_cache(maxsize=4)
def _loaded(cues: tuple[Path, bytes] | None, lexicon: tuple[Path, bytes] | None) -> Vocabulary:
    if cues is None and lexicon is None:
        return package_vocabulary()
    digest = blake2b(repr([file and file[1] for file in (cues, lexicon)]).encode(), digest_size=8).hexdigest()
    return Vocabulary(load_cues(cues and cues[0]), load_lexicon(lexicon and lexicon[0]), digest)
