"""Cues of PET/CT reports: words and expressions by category, with their direction and scope, compiled once.

They stand in `cues.toml`, which says how it is written, of the package and of a cohort that adds its own.
"""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.reports.vocabulary.errors import VocabularyError, one_of
from pipelines.tables.safe_text import error_reason

CUES_NAME = "cues.toml"
CUES_FILE = Path(__file__).parent / CUES_NAME

DIRECTIONS = ("forward", "backward", "both", "start", "words")
_KEYS = ("means", "direction", "begins", "scope", "ended_by", "cues", "patterns", "forms")
_ADDED_KEYS = ("cues", "patterns")
_REFERENCE = re.compile(r"\{(?P<negated>!?)(?P<name>[a-z_]+)\}")
_LINE_BREAK = re.compile(r"\s*\n\s*")


@dataclass(frozen=True)
class Category:
    """Cues of one meaning. `patterns` holds (expression, a text that it matches or null); `begins` is a quick test of
    where any of them can begin, which changes nothing of what is found.
    """

    name: str
    means: str
    direction: str
    begins: str = ""
    scope: str = ""
    ended_by: str | None = None
    literals: tuple[str, ...] = ()
    patterns: tuple[tuple[str, str | None], ...] = ()
    forms: tuple[Mapping[str, str], ...] = ()

    @property
    def examples(self) -> tuple[str, ...]:
        """One text for each cue that has one."""
        return tuple(c.replace("*", "") for c in self.literals) + tuple(e for _, e in self.patterns if e is not None)


@dataclass(frozen=True, eq=False)
class Cues:
    """Categories by name, and what each is compiled to.

    Apply the expression of a category to text in lower case: of direction "forward" with `search` to the text that ends
    at the value, "backward" with `match` where the value ends, "start" with `match` where the sentence starts, "both"
    as it fits.
    """

    categories: Mapping[str, Category]
    patterns: Mapping[str, re.Pattern[str]] = field(repr=False)

    def __getitem__(self, name: str) -> re.Pattern[str]:
        return self.patterns[name]

    def words(self, name: str) -> frozenset[str]:
        """Literals of a category."""
        return frozenset(self.categories[name].literals)

    def with_digits(self, text: str) -> str:
        """A text with its dictated decimals ("seven point two") in digits, and blanks up to the same length."""
        return self["spoken_decimal"].sub(self._in_digits, text) if " point " in text else text

    def _in_digits(self, match: re.Match[str]) -> str:
        numbers = self.categories["number_word"].literals
        digits = [x if x.isdigit() else str(numbers.index(x) + 1 if x in numbers else 0) for x in match.groups()]
        return ".".join(digits).ljust(len(match[0]))

    def alternatives(self, name: str) -> str:
        """An expression for one of a category's cues, without word boundaries."""
        return _alternatives(self.categories, name)


def load_cues(addition: Path | None = None) -> Cues:
    """The cues of the package, with those that a cohort adds to its categories.

    Args:
        addition: a cohort's own `cues.toml`: tables named as the categories, with `cues` and `patterns` alone.

    Raises:
        VocabularyError: the file is no TOML, or a category, a key or a cue is wrong.
    """
    categories = _package()
    if addition is not None:
        categories = {**categories, **_read(addition, categories)}
    return Cues(categories, {name: re.compile(_whole(categories, name)) for name in categories})


@functools.cache
def _package() -> Mapping[str, Category]:
    return _read(CUES_FILE, {})


# --- expressions -----------------------------------------------------------------------------------------------------


def _whole(categories: Mapping[str, Category], name: str) -> str:
    """The expression of a category with its word boundaries, end and scope."""
    category = categories[name]
    bounded = "|".join((*_bounded(category.literals), *(p for p, _ in category.patterns)))
    cue = f"{category.begins}(?:{bounded})" + (f"{{!{category.ended_by}}}" if category.ended_by else "")
    whole = {
        "forward": cue + (category.scope or r"\s*") + r"\Z",
        "backward": f"{category.scope}{cue}",
        "start": rf"\W*{cue}{category.scope}",
    }.get(category.direction, cue)
    return _expanded(categories, whole)


def _expanded(categories: Mapping[str, Category], expression: str) -> str:
    def of(match: re.Match[str]) -> str:
        alternatives = _alternatives(categories, match["name"])
        return f"(?!{alternatives})" if match["negated"] else alternatives

    return _REFERENCE.sub(of, _LINE_BREAK.sub("", expression).replace(" ", r"\s+"))


def _alternatives(categories: Mapping[str, Category], name: str) -> str:
    category = categories[name]
    literals = [_escaped(cue) for cue in sorted(category.literals, key=len, reverse=True)]
    return "(?:" + "|".join((*literals, *(_expanded(categories, p) for p, _ in category.patterns))) + ")"


def _escaped(literal: str) -> str:
    """A literal as an expression: a hyphen between letters may be a blank or left out, `*` is any end of the word."""
    escaped = "".join(c if c.isalnum() or c == " " else rf"\x{ord(c):02x}" if c != "*" else r"\w*" for c in literal)
    return re.sub(r"(?<=[a-z])\\x2d(?=[a-z])", r"[-\\s]?", escaped).replace(" ", r"\s+")


def _bounded(literals: tuple[str, ...]) -> Iterator[str]:
    """Literals between word boundaries, those with equal edges together."""
    edges: dict[tuple[str, str], list[str]] = {}
    for literal in sorted(literals, key=len, reverse=True):
        edge = tuple(r"\b" if c.isalnum() else "" for c in (literal[0], literal[-1]))
        edges.setdefault((edge[0], edge[1]), []).append(_escaped(literal))
    for (first, last), group in edges.items():
        yield f"{first}(?:{'|'.join(group)}){last}"


# --- file ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    path: Path
    text: str

    def wrong(self, expected: str, got: object, do: str, *where: str) -> VocabularyError:
        """An error at the last of the texts that stand behind one another in the file."""
        position = 0
        for text in where:
            found = re.compile("[\"']?" + re.escape(text)).search(self.text, position)
            position = found.start() if found is not None else position
        line = self.text.count("\n", 0, position) + 1
        return VocabularyError(self.path, line, position - self.text.rfind("\n", 0, position), expected, got, do)


def _read(path: Path, known: Mapping[str, Category]) -> dict[str, Category]:
    """Categories of a file; where some are known, these with what the file adds to them."""
    try:
        file = _File(path, path.read_bytes().decode("utf-8-sig"))
        content = tomllib.loads(file.text)
    except UnicodeDecodeError as error:
        raise VocabularyError(path, 1, 1, "text in UTF-8", f"byte {error.start}", "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(at[1]), int(at[2])) if at else (file.text.count("\n") + 1, 1)
        raise VocabularyError(path, line, column, "TOML", "none", "correct the syntax") from error
    out: dict[str, Category] = {}
    for name, table in content.items():
        if known and name not in known:
            raise file.wrong(f"a category, {one_of(known)}", name, "correct the name", name)
        out[name] = _category(file, name, table, known)
    everything = {**known, **out}
    for category in out.values():
        _check_expressions(file, everything, category)
    return out


def _category(file: _File, name: str, table: Any, known: Mapping[str, Category]) -> Category:
    header = f"[{name}]"
    keys = _ADDED_KEYS if known else _KEYS
    if not isinstance(table, dict):
        raise file.wrong(f"a table {header}", table, "write the header and its keys", name)
    for key in table:
        if key not in keys:
            raise file.wrong(f"{one_of(keys)} in {header}", key, "remove or rename it", header, f"\n{key}"[1:])
    literals = [_literal(file, header, cue) for cue in _list(file, header, table, "cues")]
    patterns = [_pattern(file, header, entry) for entry in _list(file, header, table, "patterns")]
    if known:
        base = known[name]
        # What a cohort adds may begin otherwise.
        return replace(base, begins="", literals=(*base.literals, *literals), patterns=(*base.patterns, *patterns))
    if table.get("direction") not in DIRECTIONS:
        raise file.wrong(f"a direction, {one_of(DIRECTIONS)}", table.get("direction"), "correct it", header)
    return Category(
        name,
        table["means"],
        table["direction"],
        table.get("begins", ""),
        table.get("scope", ""),
        table.get("ended_by"),
        tuple(literals),
        tuple(patterns),
        tuple(table.get("forms", ())),
    )


def _list(file: _File, header: str, table: Mapping[str, Any], key: str) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise file.wrong(f"a list for {key} in {header}", value, "write it in brackets", header, key)
    return value


def _literal(file: _File, header: str, cue: Any) -> str:
    if not isinstance(cue, str) or not cue.strip(" *") or cue != cue.strip() or cue != cue.lower() or "  " in cue:
        expected = f"words in lower case, parted by one blank, for a cue of {header}"
        raise file.wrong(expected, cue, "correct the cue", header, "cues", str(cue) or '""')
    return cue


def _pattern(file: _File, header: str, entry: Any) -> tuple[str, str | None]:
    if isinstance(entry, str):
        return entry, None
    if not isinstance(entry, dict) or sorted(entry) != ["example", "pattern"]:
        expected = f"an expression, or {{ pattern = '...', example = '...' }}, in {header}"
        raise file.wrong(expected, entry, "correct the entry", header, "patterns", "{")
    return str(entry["pattern"]), str(entry["example"])


def _check_expressions(file: _File, categories: Mapping[str, Category], category: Category) -> None:
    header = f"[{category.name}]"
    for pattern, example in category.patterns:
        if pattern not in file.text:
            continue  # The package's, checked with its own file.
        unknown = [m["name"] for m in _REFERENCE.finditer(pattern) if m["name"] not in categories]
        if unknown:
            expected = f"a category in {{}}, {one_of(categories)},"
            raise file.wrong(expected, unknown[0], "correct the name", header, "patterns", "{" + unknown[0])
        try:
            compiled = re.compile(_expanded(categories, pattern))
        except (re.error, RecursionError) as error:
            expected = f"a regular expression in {header}"
            raise file.wrong(
                expected, pattern, f"correct it ({error_reason(error)})", header, "patterns", pattern
            ) from error
        if compiled.match("") and category.direction not in ("both", "words") and example is not None:
            raise file.wrong("an expression of at least one letter", pattern, "correct it", header, pattern)
        if example is not None and not compiled.fullmatch(example):
            expected = f"an example that {pattern!r} matches as a whole"
            raise file.wrong(expected, example, "correct one of them", header, pattern, example)
