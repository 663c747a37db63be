"""Generated passages of reports whose mentions are known by construction.

A wording file (`en.toml` and one for each further language) has forms of sentences by kind. The names of a form's
placeholders say what each number is, so the truth comes from the form and never from reading the text.
"""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "wording"
LANGUAGES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
"""Languages (ISO 639-1) that have a wording file."""

_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)(\d?)\}")
_MAX_SLICE = 280
_FILLERS = (0, 1, 2, 3)
"""How many sentences without a finding may stand beside the form."""


@dataclass(frozen=True)
class TrueMention:
    """A lesion of this exam that a passage names. `slice` is null where the passage gives none.

    `laterality`, `organ` and `region` are in the vocabulary of the fields. `comparison` is null where the form leaves
    open which word is right.
    """

    slice: int | None
    suvmax: float
    region: str
    organ: str
    laterality: str | None
    comparison: str | None


@dataclass(frozen=True)
class Passage:
    """A text with the mentions of this exam's lesions that it holds, in order; `kind` is the wording that it tests."""

    text: str
    kind: str
    language: str
    mentions: tuple[TrueMention, ...]


def passages(n: int, seed: int, language: str = "en") -> Iterator[Passage]:
    """The first `n` passages of a seed, over all kinds of a language in turn.

    Args:
        language: one of LANGUAGES.
    """
    wording = _wording(language)
    kinds = list(wording["kinds"].items())
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        name, kind = kinds[i % len(kinds)]
        yield _Draw(wording, kind, rng).passage(name, language)


@functools.cache
def _wording(language: str) -> Mapping[str, Any]:
    return tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


@dataclass
class _Draw:
    """The numbers, places and words that one passage has drawn, by placeholder."""

    wording: Mapping[str, Any]
    kind: Mapping[str, Any]
    rng: np.random.Generator
    known: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    places: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    sides: dict[str, str] = field(default_factory=dict)
    taken: set[float] = field(default_factory=set)

    def passage(self, name: str, language: str) -> Passage:
        form = self.pick(self.kind["forms"])
        form = {"text": form} if isinstance(form, str) else form
        text = self.chosen(form["text"])
        lesions = sorted({m[2] for m in _PLACEHOLDER.finditer(text) if m[1] in ("suv", "value")})
        if form.get("same"):
            for n in lesions:
                self.numbers[f"slice{n}"] = self.numbers.get("slice1") or self.slice()
        for n in lesions:
            self.suv(n)
        text = _PLACEHOLDER.sub(lambda m: self.filled(m[1], m[2]), text)
        mentions = tuple(self.mention(n, form) for n in lesions)
        return Passage(self.dressed(_upper_first(text)), name, language, mentions)

    def mention(self, n: str, form: Mapping[str, Any]) -> TrueMention:
        place, number = self.place(n), self.numbers.get(f"slice{n}")
        side = self.sides.get(n)
        return TrueMention(
            slice=None if number is None else int(number),
            suvmax=self.numbers[f"suv{n}"],
            region=place["region"],
            organ=place["organ"],
            laterality=side,
            comparison=form.get("comparison"),
        )

    # --- words -------------------------------------------------------------------------------------------------------

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chosen(self, text: str) -> str:
        """A form with one of each `[a|b]`."""
        while _CHOICE.search(text):
            text = _CHOICE.sub(lambda m: self.pick(m[1].split("|")), text, count=1)
        return text

    def dressed(self, text: str) -> str:
        """The text among sentences without a finding, under a heading or not."""
        filler = self.wording["filler"]
        texts = list(filler["texts"])
        self.rng.shuffle(texts)
        n = int(self.pick(_FILLERS))
        cut = int(self.rng.integers(n + 1))
        joined = " ".join([*texts[:cut], text, *texts[cut:n]])
        return f"{self.pick(filler['headings'])} {joined}" if self.rng.random() < 0.5 else joined

    def filled(self, name: str, n: str) -> str:
        """The words for a placeholder; the same words wherever it stands again."""
        key = name + n
        if key not in self.known:
            self.known[key] = getattr(self, f"_{name}")(n)
        return self.known[key]

    def written(self, value: float) -> str:
        return f"{value:.1f}".replace(".", self.kind.get("decimal", self.wording["numbers"]["decimal"]))

    def in_words(self, kind: str, value: str) -> str:
        return str(self.pick(self.wording["words"][kind])).replace("{}", value)

    # --- numbers -----------------------------------------------------------------------------------------------------

    def new(self, low: float, high: float) -> float:
        """A value of one decimal between two bounds that no other number of the passage has."""
        while True:
            value = round(float(self.rng.uniform(low, high)), 1)
            if value not in self.taken and value != round(value):
                self.taken.add(value)
                return value

    def slice(self) -> int:
        while True:
            value = int(self.rng.integers(33, _MAX_SLICE))
            if value not in self.taken:
                self.taken.add(value)
                return value

    def suv(self, n: str) -> float:
        if f"suv{n}" not in self.numbers:
            self.numbers[f"suv{n}"] = self.new(3.6, 13.0)
        return self.numbers[f"suv{n}"]

    # --- places ------------------------------------------------------------------------------------------------------

    def place(self, n: str) -> Mapping[str, Any]:
        """The place of a lesion, of another organ than those of the passage's other lesions."""
        if n not in self.places:
            organs = {p["organ"] for p in self.places.values()}
            options = [p for p in self.wording["place"] if p["organ"] not in organs]
            wanted = self.kind.get("sided")
            options = [p for p in options if not wanted or "{side" in p["place"]] or options
            self.places[n] = self.pick(options)
            if "{side" in self.places[n]["place"]:
                self.sides[n] = self.pick(("left", "right"))
        return self.places[n]

    def side_words(self, words: str, n: str, *, other: bool = False) -> str:
        names = self.wording["words"].get("side", {"left": "left", "right": "right"})
        side = self.sides.get(n)
        if side is None:
            return words
        if other:
            side = {"left": "right", "right": "left"}[side]
        return re.sub(r"\{side(?::(\w+))?\}", lambda m: names[side] if m[1] is None else names[f"{side}_{m[1]}"], words)

    def _place(self, n: str) -> str:
        return self.side_words(self.place(n)["place"], n)

    def _adj(self, n: str) -> str:
        return self.side_words(self.place(n)["adjective"], n)

    def _noun(self, n: str) -> str:
        return str(self.pick(self.place(n)["nouns"]))

    def _part(self, n: str) -> str:
        return re.sub(r"\{side(?::\w+)?\} ?", "", self.place(n)["place"])

    def _other(self, n: str) -> str:
        self.place(n)
        return self.side_words("{side}", n, other=True)

    # --- this exam's numbers -----------------------------------------------------------------------------------------

    def _suv(self, n: str) -> str:
        return self.in_words("suv", self._value(n))

    def _value(self, n: str) -> str:
        return self.written(self.suv(n))

    def _slice(self, n: str) -> str:
        key = f"slice{n}"
        self.numbers.setdefault(key, self.slice())
        return str(int(self.numbers[key]))

    def _at(self, n: str) -> str:
        return self.in_words("slice", self._slice(n))

    # --- other numbers -----------------------------------------------------------------------------------------------

    def _pv(self, n: str) -> str:
        return self.written(self.new(1.5 * self.suv(n), 2.2 * self.suv(n)))

    def _lv(self, n: str) -> str:
        return self.written(self.new(0.4 * self.suv(n), 0.66 * self.suv(n)))

    def _before(self, n: str) -> str:
        return self.in_words("suv", self._pv(n))

    def _lower(self, n: str) -> str:
        return self.in_words("suv", self._lv(n))

    def _gone(self, _: str) -> str:
        return self.in_words("suv", self._err(""))

    def _err(self, _: str) -> str:
        return self.written(self.new(3.6, 25.0))

    def _low(self, _: str) -> str:
        return self.written(self.new(2.6, 5.0))

    def _high(self, _: str) -> str:
        return self.written(self.new(5.1, 14.0))

    def _refv(self, _: str) -> str:
        return self.written(self.new(1.5, 3.4))

    def _ref(self, _: str) -> str:
        return self.in_words("suv", self._refv(""))

    _mean = _peak = _refv

    def _bound(self, _: str) -> str:
        return self.written(self.new(2.6, 9.0))

    def _mtv(self, _: str) -> str:
        return self.written(self.new(3.0, 60.0))

    _tlg = _mtv

    def _aw(self, _: str) -> str:
        return str(self.slice())

    _ws = _aw

    def _away(self, _: str) -> str:
        return self.in_words("slice", self._aw(""))

    _where = _away

    def _series(self, _: str) -> str:
        return str(int(self.rng.integers(2, 9)))

    def _total(self, _: str) -> str:
        return str(int(self.rng.integers(281, 420)))

    def _size(self, _: str) -> str:
        long, short = sorted((self.new(0.8, 6.0), self.new(0.8, 6.0)), reverse=True)
        words = str(self.pick(self.wording["words"]["size"]))
        for name, value in (("a", self.written(long)), ("b", self.written(short))):
            words = words.replace(f"{{{name}}}", value)
        return words.replace("{am}", f"{long * 10:.0f}").replace("{bm}", f"{short * 10:.0f}")

    _presize = _size

    def _avid(self, _: str) -> str:
        return str(self.pick(self.wording["words"]["avid"]))

    def _exam(self, _: str) -> str:
        return str(self.pick(self.wording["words"]["exam"]))

    def _date(self, _: str) -> str:
        return str(self.pick(self.wording["words"]["date"]))


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
