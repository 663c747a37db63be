"""Mentions of a language model's answer, each held against the sentences that it cites."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pipelines.reports.llm.answer_format import object_problem, short
from pipelines.reports.mentions import Mention
from pipelines.reports.passages import Passage
from pipelines.reports.structure import find_anatomy, sides_of
from pipelines.reports.vocabulary.text import clean, lower
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.tables.report_fields import (
    CERTAINTIES,
    COMPARISONS,
    EXAMS,
    LATERALITIES,
    PLANES,
    REGIONS,
    ROLES,
    SUV_KINDS,
)

_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_SAME = 1e-6
_REQUIRED = {"role": ROLES, "exam": EXAMS}
_CHOICES = {"suv_kind": SUV_KINDS, "plane": PLANES, "region": REGIONS, "laterality": LATERALITIES}
_GROUNDED = ("suv", "prior_suv", "slice", "series", "size_cm")


def problem_of(answer: str) -> str | None:
    """What keeps an answer from being a list of mentions, null where nothing does."""
    problem = object_problem(answer, ("mentions",))
    if problem is not None:
        return problem
    entries = json.loads(answer)["mentions"]
    if not isinstance(entries, list) or not all(isinstance(e, Mapping) for e in entries):
        return f"expected a list of objects for mentions, the model answered {short(answer)!r}"
    for entry in entries:
        cited = entry.get("sentences")
        if not isinstance(cited, list) or not cited or not all(_is_whole(n) for n in cited):
            return f"expected numbers of sentences in every mention, the model answered {short(json.dumps(entry))!r}"
        for key, values in _REQUIRED.items():
            if entry.get(key) not in values:
                return f"expected {key} as {', '.join(values)}, the model answered {short(json.dumps(entry))!r}"
        wrong = [k for k in (*_GROUNDED, "count") if not isinstance(entry.get(k), int | float | None)]
        wrong += [k for k in (*_GROUNDED, "count") if isinstance(entry.get(k), bool)]
        if wrong:
            return f"expected a number for {wrong[0]}, the model answered {short(json.dumps(entry))!r}"
    return None


def mentions_of(passage: Passage, answer: str, words: Vocabulary) -> tuple[Mention, ...]:
    """The mentions of an answer that `problem_of` has passed; what its sentences do not bear out is `refused`."""
    words = words.of(passage.sentences[0].language)
    return tuple(_mention(passage, entry, words) for entry in json.loads(answer)["mentions"])


def _mention(passage: Passage, entry: Mapping[str, Any], words: Vocabulary) -> Mention:
    known = [int(n) for n in dict.fromkeys(entry["sentences"]) if 1 <= n <= len(passage.sentences)]
    cited = [passage.sentences[n - 1] for n in known]
    values = {name: _positive(entry.get(name)) for name in _GROUNDED}
    # Numbers as they are written, sides and places in the words of the lexicon.
    texts = {s.sentence_id: f"{lower(clean(s.sentence))} {words.read(s.sentence).text}" for s in cited}
    with_suv = [s.sentence_id for s in cited if values["suv"] and _stands(values["suv"], texts[s.sentence_id], words)]
    ids = tuple(dict.fromkeys([*with_suv[:1], *texts]))
    flat = " ".join(texts.values())
    chosen = {name: entry.get(name) if entry.get(name) in allowed else None for name, allowed in _CHOICES.items()}
    side = chosen["laterality"]
    refused = _refusal(passage, entry, values, flat, side, words)
    region, organ, subsite = _place(entry, chosen["region"], flat, passage, words)
    return Mention(
        sentence_ids=ids or (passage.sentences[0].sentence_id,),
        lesion=_text(entry.get("lesion")),
        slice=_whole(values["slice"]),
        series=_whole(values["series"]),
        plane=chosen["plane"],
        suv_kind=chosen["suv_kind"],
        suv=values["suv"],
        prior_suv=values["prior_suv"],
        size_cm=values["size_cm"],
        exam=entry["exam"],
        role=entry["role"],
        count=max(1, int(entry.get("count") or 1)),
        # A side that no word names is no contradiction, and no knowledge either.
        laterality=side if not words.is_read or side in _allowed_sides(flat, words) else None,
        comparison=entry["comparison"] if entry.get("comparison") in COMPARISONS else "none",
        certainty=entry["certainty"] if entry.get("certainty") in CERTAINTIES else "certain",
        region=region,
        organ=organ,
        subsite=subsite,
        refused=refused,
    )


def _refusal(
    passage: Passage,
    entry: Mapping[str, Any],
    values: Mapping[str, float | None],
    flat: str,
    side: str | None,
    words: Vocabulary,
) -> str | None:
    """Why a mention does not count, null where its sentences bear it out."""
    strange = [n for n in entry["sentences"] if not 1 <= n <= len(passage.sentences)]
    if strange:
        return f"it cites sentence {strange[0]} of {len(passage.sentences)}"
    for name, value in values.items():
        if value is None or _stands(value, flat, words):
            continue
        if name == "size_cm" and _stands(10 * value, flat, words):
            continue  # "12 mm"
        return f"{name} {value:g} does not stand in the cited sentences"
    if isinstance(values["slice"], float) and values["slice"] != int(values["slice"]):
        return f"slice {values['slice']:g} is no whole number"
    named = sides_of(flat, words) if words.is_read else set()
    if side in ("left", "right") and named and side not in named and "bilateral" not in named:
        return f"{side} where the cited sentences say {', '.join(sorted(named))}"
    return None


def _allowed_sides(flat: str, words: Vocabulary) -> set[str]:
    named = sides_of(flat, words)
    both = {"left", "right"} <= named or "bilateral" in named
    return named | ({"left", "right", "bilateral"} if both else set())


def _stands(value: float, flat: str, words: Vocabulary) -> bool:
    """Whether a number stands in a text: as digits, with a point or a comma, in a fraction, or as a word."""
    if any(abs(float(n.replace(",", ".")) - value) < _SAME for n in _NUMBER.findall(flat)):
        return True
    literals = words.cues.categories["number_word"].literals
    return value in range(1, len(literals) + 1) and literals[int(value) - 1] in flat.split()


def _place(
    entry: Mapping[str, Any], region: str | None, flat: str, passage: Passage, words: Vocabulary
) -> tuple[str | None, str | None, str | None]:
    """Region, organ and sub-site in the lexicon's words; an organ is left out where the text names others alone."""
    organ, subsite = _text(entry.get("organ")), _text(entry.get("subsite"))
    said = next((p.term for p in find_anatomy(lower(clean(organ or "")), words)), None)
    organ = said.organ if said is not None and said.organ else organ
    region = region or (said.region if said is not None else None)
    heading = words.read(passage.section or "").text
    named = {p.term.organ for p in find_anatomy(f"{heading}. {flat}", words)} - {None}
    if organ is not None and words.is_read and named and organ not in named and organ not in flat:
        organ = None
    return region, organ, subsite


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _text(value: object) -> str | None:
    text = " ".join(value.split()).lower() if isinstance(value, str) else ""
    return text if text not in ("", "null", "none", "unknown") else None


def _positive(value: object) -> float | None:
    """A number that is told; zero is how models say "none" where they dislike null."""
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
