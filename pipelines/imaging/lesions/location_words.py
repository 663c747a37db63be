"""Where in the body a sentence places a finding, as intervals of the body frame and classes of a label map.

The words are data (place.toml).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

Interval = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """Where a finding may lie; null where the words do not say.

    along: u of the body frame; lateral, depth: see `BodyFrame`; side: left or right; labels: starts of class names of a
    label map; near_mm: how far from these it may lie; named: the words that decided.
    """

    along: Interval | None = None
    lateral: Interval | None = None
    depth: Interval | None = None
    side: str | None = None
    labels: tuple[str, ...] = ()
    near_mm: float = 4.0
    named: str | None = None


@dataclass(frozen=True)
class _Words:
    """place.toml."""

    places: Mapping[str, Place]
    regions: Mapping[str, Place]
    phrases: re.Pattern[str]
    beside: re.Pattern[str]
    spine: Mapping[str, tuple[float, float]]
    room: float
    physiologic: tuple[str, ...]
    own_uptake: frozenset[str]


@cache
def _words() -> _Words:
    data = tomllib.loads((Path(__file__).parent / "place.toml").read_text(encoding="utf-8"))
    places = {word: _place(entry, word) for entry in data["place"] for word in entry["words"]}
    regions = {word: _place(entry, word) for entry in data["region"] for word in entry["words"]}
    spine = {level["letter"]: (level["at"], level["step"]) for level in data["spine"]["levels"]}
    return _Words(
        places,
        regions,
        re.compile(rf"\b(?:{_either(places)})\b"),
        re.compile(rf"\b(?:{_either(data['beside'])})\b[^,;.]*"),
        spine,
        data["spine"]["room"],
        tuple(data["physiologic"]["classes"]),
        frozenset(data["own_uptake"]["organs"]),
    )


def _either(phrases: Any) -> str:
    return "|".join(re.escape(p) for p in sorted(phrases, key=len, reverse=True))


def _place(entry: Mapping[str, Any], word: str) -> Place:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items() if k != "words"}
    return Place(**{**values, "named": word})


_LEVEL = re.compile(r"\b([ctl])(\d{1,2})\b")
_RIB = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)(?: \w+){0,2} rib\b")


def place_of(
    text: str, region: str | None = None, organ: str | None = None, subsite: str | None = None, side: str | None = None
) -> Place:
    """Where a finding lies by its words, the most telling first: subsite, sentence, organ, region.

    Args:
        text: the sentence.
        region, organ, subsite: fields of the finding, as the lexicon names them; null where unknown.
        side: left or right, where the finding is on one side; else null.
    """
    words = _words()
    said = words.beside.sub(" ", text.lower())
    found = _longest((subsite or "").lower()) or _longest(said) or _longest((organ or "").lower())
    found = found or words.regions.get((region or "").lower()) or Place()
    named = " ".join(x for x in (subsite, said) if x).lower()
    level = _LEVEL.search(named)
    spinal = organ == "vertebra" or "vertebrae" in found.labels or found.labels == ()
    if level and spinal and (organ in (None, "vertebra") or "vertebr" in named):
        at, step = words.spine[level[1]]
        middle = at + step * int(level[2])
        spine = words.places["vertebra"]
        found = replace(
            spine,
            along=(middle - words.room, middle + words.room),
            labels=(f"vertebrae_{level[0].upper()}",),
            named=level[0],
        )
    rib = _RIB.search(named)
    if rib and "rib" in found.labels:
        found = replace(found, labels=(f"rib_left_{rib[1]}", f"rib_right_{rib[1]}"), named=rib[0])
    return replace(found, side=side or found.side)


def place_names() -> list[str]:
    """The phrases that name a place."""
    return list(_words().places)


def _longest(text: str) -> Place | None:
    words = _words()
    found = words.phrases.findall(text)
    return words.places[max(found, key=len)] if found else None


def is_physiologic(name: str) -> bool:
    """Whether a class of a label map has uptake of its own."""
    return name.startswith(_words().physiologic)


def has_own_uptake(organ: str | None) -> bool:
    """Whether an organ, as the lexicon names it, surrounds what lies in it with uptake of its own."""
    return organ in _words().own_uptake


def has_label(name: str, labels: tuple[str, ...]) -> bool:
    """Whether a class is one of those that a place names; a label that ends in a number names that number alone."""
    for label in labels:
        rest = name.removeprefix(label)
        if rest != name and not (label[-1:].isdigit() and rest[:1].isdigit()):
            return True
    return False
