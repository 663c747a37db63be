"""The words that reports are read with: cues and lexicon of the package, with a cohort's own added."""

import functools
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from pipelines.reports.vocabulary.cues import CUES_NAME, Cues, load_cues
from pipelines.reports.vocabulary.lexicon import LEXICON_NAME, Lexicon, load_lexicon


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Cues and lexicon. `version` is a hash of what a cohort adds to the package's, "" where it adds nothing."""

    cues: Cues
    lexicon: Lexicon
    version: str = ""

    @property
    def suffix(self) -> str:
        """What the version of a reader that uses it ends with."""
        return f"+{self.version}" if self.version else ""


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
