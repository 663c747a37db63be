"""Words of PET/CT reports for places in the body: which region, organ, sub-site and side a phrase names.

They stand in `lexicon.csv`, one row a phrase, of the package and of a cohort that adds its own.
"""

import csv
import difflib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.reports.vocabulary.errors import VocabularyError, one_of
from pipelines.tables.report_fields import REGIONS
from pipelines.tables.safe_text import error_reason

LEXICON_NAME = "lexicon.csv"
LEXICON_FILE = Path(__file__).parent / LEXICON_NAME

HEAD_NECK, CHEST, ABDOMEN_PELVIS, MUSCULOSKELETAL = REGIONS
COLUMNS = ("phrase", "organ", "region", "subsite", "laterality")
LATERALITIES = ("left", "right", "bilateral", "midline")

WORD = re.compile(r"[a-z0-9]+(?:'s)?")
"""A word of a phrase; what stands between words (blank, hyphen) does not count."""
_PHRASE = re.compile(r"[a-z0-9][a-z0-9' /-]*")
_NEARLY = 0.8
"""Likeness (0 to 1) from which a new organ counts as a slip for a known one."""


@dataclass(frozen=True)
class Term:
    """What a phrase names; null where it leaves that open ("lymph node" has no region).

    `laterality` is given only where the phrase implies a side without a word for it ("lingula").
    """

    organ: str | None
    region: str | None
    subsite: str | None = None
    laterality: str | None = None


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Terms by phrase (lower case)."""

    terms: Mapping[str, Term]

    @cached_property
    def by_first_word(self) -> dict[str, dict[tuple[str, ...], tuple[str, Term]]]:
        """(phrase, term) by the phrase's words, grouped by the first of them."""
        out: dict[str, dict[tuple[str, ...], tuple[str, Term]]] = {}
        for phrase, term in self.terms.items():
            words = tuple(WORD.findall(phrase))
            out.setdefault(words[0], {})[words] = (phrase, term)
        return out

    @cached_property
    def max_words(self) -> int:
        """Words of the longest phrase."""
        return max(len(words) for by_words in self.by_first_word.values() for words in by_words)

    @cached_property
    def words(self) -> frozenset[str]:
        """All words of the phrases and of what they name, in lower case."""
        named = (name for term in self.terms.values() for name in (term.organ, term.subsite) if name)
        return frozenset(word for text in (*self.terms, *named) for word in WORD.findall(text.lower()))

    def phrases_of(self, laterality: str) -> list[str]:
        """Phrases that imply a side."""
        return [phrase for phrase, term in self.terms.items() if term.laterality == laterality]


def load_lexicon(addition: Path | None = None) -> Lexicon:
    """The lexicon of the package; a row of an addition goes before a row of the package with the same phrase.

    Args:
        addition: a cohort's own `lexicon.csv`.

    Raises:
        VocabularyError: a column is missing or unknown, or a row is wrong.
    """
    rows = _read(LEXICON_FILE, frozenset())
    if addition is not None:
        rows |= _read(addition, frozenset(term.organ for term in rows.values() if term.organ))
    return Lexicon({**{spelt: term for phrase, term in rows.items() for spelt in _spellings(phrase)}, **rows})


def _read(path: Path, organs: frozenset[str]) -> dict[str, Term]:
    """Terms of a file; a new organ must not nearly be one of the known `organs`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VocabularyError(path, 1, 1, "text in UTF-8", f"byte {error.start}", "save the file as UTF-8") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    terms: dict[str, Term] = {}
    header: list[str] = []
    try:
        for cells in rows:
            if not header:
                header = [cell.strip() for cell in cells]
                _check_header(path, header)
            elif cells:
                row = _Row(path, rows.line_num, header, [cell.strip() for cell in cells])
                row.check(terms, organs)
                term = {name: row[name] or None for name in COLUMNS if name != "phrase"}
                terms[row["phrase"]] = Term(**term)
    except csv.Error as error:
        raise VocabularyError(path, rows.line_num, 1, "CSV", error_reason(error), "correct the quotes") from error
    _check_header(path, header)
    return terms


def _check_header(path: Path, header: list[str]) -> None:
    if sorted(header) != sorted(COLUMNS):
        wrong = [n for n, name in enumerate(header, 1) if name not in COLUMNS or name in header[: n - 1]]
        expected = f"the columns {', '.join(COLUMNS)}"
        raise VocabularyError(path, 1, wrong[0] if wrong else 1, expected, ",".join(header), "correct the header")


@dataclass(frozen=True)
class _Row:
    path: Path
    line: int
    header: list[str]
    cells: list[str]

    def __getitem__(self, name: str) -> str:
        return self.cells[self.header.index(name)]

    def wrong(self, name: str, expected: str, do: str) -> VocabularyError:
        return VocabularyError(self.path, self.line, self.header.index(name) + 1, expected, self[name], do)

    def check(self, terms: Mapping[str, Term], organs: frozenset[str]) -> None:
        """Raises where a cell is not as it must be."""
        n = len(self.cells)
        if n != len(self.header):
            expected = f"{len(self.header)} columns ({', '.join(self.header)})"
            raise VocabularyError(self.path, self.line, n, expected, n, "add or remove commas, or quote the cell")
        if not _PHRASE.fullmatch(self["phrase"]):
            raise self.wrong("phrase", "a phrase of lower-case letters, digits, blanks, - / and '", "write it so")
        if self["phrase"] in terms:
            raise self.wrong("phrase", "each phrase once", "remove one of the two rows")
        for name, allowed in (("region", REGIONS), ("laterality", LATERALITIES)):
            if self[name] and self[name] not in allowed:
                raise self.wrong(name, f"a {name}, {one_of(allowed)}, or nothing", "correct it")
        if not self["organ"] and not self["subsite"]:
            raise self.wrong("organ", "an organ, or else a subsite", "name at least one of them")
        near = difflib.get_close_matches(self["organ"], organs, n=1, cutoff=_NEARLY)
        if near and self["organ"] not in organs:
            raise self.wrong("organ", f"{near[0]!r} or the name of an organ less like it", "correct it")


_BRITISH = (("esophag", "oesophag"), ("celiac", "coeliac"), ("cecum", "caecum"), ("cecal", "caecal"))
_PREFIX = re.compile(
    r"""(?P<prefix>peri|para|pre|retro|sub|infra|supra|inter|intra|epi   # where
    |latero|lumbo|gastro|aorto|costo|recto)                             # of what
    (?P<rest>[a-z]{5,})""",
    re.VERBOSE,
)


def _spellings(phrase: str) -> Iterator[str]:
    """A phrase in American and British spelling, its first word also parted behind a prefix ("peri-portal")."""
    for american, british in (("", ""), *_BRITISH):
        if american in phrase:
            spelt = phrase.replace(american, british) if american else phrase
            yield spelt
            parted = _PREFIX.match(spelt)
            if parted is not None:
                yield f"{parted['prefix']} {spelt[parted.start('rest') :]}"
