"""Names of people, organisations and places in a text.

A name is what a cue asks for (a title, "signed by", "patient", a degree behind it), a given name with what follows it,
or a word with a capital that is neither a word of the language nor of medicine. The last is told by lists of words for
English, and by standing inside a sentence for languages that write nouns small; German, which does not, has cues alone.
An unknown word before a noun of medicine ("Rosai disease") is an eponym and no name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache

from pipelines.cohort.privacy.name_words import (
    WordKind,
    bare,
    common_words,
    cues,
    is_given_name,
    kind_of,
    medical_endings,
)

_WORD = re.compile(
    r"(?:l|d|un|dell|all|dall|nell|sull|qu)['’](?=[^\W\d_a-zà-ÿ])|[^\W\d_]+(?:['’-][^\W\d_]+)*",
)
"""A word; an article before a capital ("l'Ospedale") is a word of its own."""
_SHORTEST = 3
_SHORTEST_IN_CAPITALS = 6
"""Letters of a word in capitals that may be a name: shorter ones are abbreviations."""
_SHORTEST_IN_CAPITAL_TEXT = 5
_ENGLISH_SHARE = 0.75
"""Part of a text's small words that are known where it is English."""
_ENGLISH_SHARE_OF_CAPITALS = 0.6
"""The same where all words count, for none is small: names are among them."""
_FEWEST_WORDS, _SHORT_TEXT = 2, 8
"""Known small words that an English text has at least; one is enough in a text of fewer words than the second."""
_IN_HAN = re.compile(
    r"(?:患者|氏名|姓名|医師|환자|성명)(?:様|氏|名)?[:： ]{0,2}(?P<name>[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{2,6})"
)
_SIGNED = re.compile(r"(?<!\S)/[sS]/[ ]*(?P<name>[^\W\d_][\w.'’-]*(?:[ ][^\W\d_a-z][\w.'’-]*){0,3})")
"""/s/ Jane Roe: a signature."""
_OF_DICOM = re.compile(r"[^\W\d_][\w.'-]*\^[\w.'-]+(?:\^[\w.'-]*){0,3}")
_MOST_PARTICLES, _MOST_NAMES = 4, 8
"""Words like "van" in a row, and words of one name."""
_FEWEST_SMALL = 2
"""Words of a sentence for each of its capitals, in languages that write nouns small."""


class Language(Enum):
    """How capitals are used in a text."""

    ENGLISH = "words are known"
    NOUNS_SMALL = "a capital inside a sentence is a name"
    GERMAN = "nouns have capitals"


@dataclass(frozen=True)
class _Cues:
    """Cues as sets, made once."""

    titles: frozenset[str]
    before: frozenset[str]
    before_colon: frozenset[str]
    verbs: frozenset[str]
    no_persons: frozenset[str]
    labels: frozenset[str]
    degrees: frozenset[str]
    particles: frozenset[str]
    eponym_heads: frozenset[str]
    eponyms_of: frozenset[str]
    german: frozenset[str]
    foreign: frozenset[str]
    english: frozenset[str]
    organisations: frozenset[str]
    generic: frozenset[str]
    before_places: frozenset[str]
    named_organisations: frozenset[str]
    place_prefixes: frozenset[str]
    german_persons: frozenset[str]
    german_persons_stems: frozenset[str]
    german_places: frozenset[str]
    german_places_after: frozenset[str]
    german_places_stems: frozenset[str]
    small_initials_after: frozenset[str]
    dotted: frozenset[str]
    capital_titles: frozenset[str]
    small_titles: frozenset[str]
    meetings: frozenset[str]
    of_anybody: frozenset[str]
    links: frozenset[str]
    links_of_organisations: frozenset[str]
    between_names: frozenset[str]
    shouted_particles: frozenset[str]
    before_organisations: frozenset[str]
    before_institutions: frozenset[str]
    no_surnames: tuple[str, ...]


@cache
def _cues() -> _Cues:
    lists = {**cues()["names"], **cues()["places"], **cues()["around"]}
    lists |= {"before": cues()["names"]["before"], "before_places": cues()["places"]["before"]}
    sets = {field.name: frozenset(lists[field.name]) for field in fields(_Cues) if field.name != "no_surnames"}
    return _Cues(**sets, no_surnames=tuple(lists["no_surnames"]))


@cache
def _organisation_endings() -> tuple[str, ...]:
    return tuple(cues()["places"]["organisation_endings"])


@cache
def _last_words(phrases: frozenset[str]) -> frozenset[str]:
    return frozenset(phrase.split()[-1] for phrase in phrases)


def name_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind: name or organisation, start, end) of the names in a text, in any order; some may overlap."""
    words = _Words(text)
    yield from words.names()
    yield from words.organisations()
    for match in _IN_HAN.finditer(text):
        yield "name", *match.span("name")
    if "/" in text:
        yield from (("name", *match.span("name")) for match in _SIGNED.finditer(text))
    if "^" in text:
        yield from (("name", *match.span()) for match in _OF_DICOM.finditer(text))


def language_of(words: list[str]) -> Language:
    """Language of the words of a text, as far as its capitals go."""
    german = sum(w.lower() in _cues().german for w in words)
    # Medicine's Latin words are nearly one in all languages: articles and prepositions tell them apart.
    low = [w.lower() for w in words]
    foreign = sum(w in _cues().foreign for w in low)
    if german * 12 >= len(words) and german and german >= foreign:
        return Language.GERMAN
    if foreign > sum(w in _cues().english for w in low):
        return Language.NOUNS_SMALL
    share = _ENGLISH_SHARE
    # Of two letters "of" and "in" tell a language, "px" does not.
    small = [w for w in words if w.islower() and (len(w) >= _SHORTEST or kind_of(w) == WordKind.HEADING)]
    if not small:
        small = [w.lower() for w in words if len(w) >= _SHORTEST]
        share = _ENGLISH_SHARE_OF_CAPITALS
    known = sum(w in common_words() for w in small)
    if known >= max(share * len(small), 1 if len(words) < _SHORT_TEXT else _FEWEST_WORDS):
        return Language.ENGLISH
    return Language.NOUNS_SMALL


class _Words:
    """The words of a text, each with its place, and what stands between them."""

    def __init__(self, text: str) -> None:
        self.text = text
        matches = list(_WORD.finditer(text))
        self.starts = [m.start() for m in matches]
        self.ends = [m.end() for m in matches]
        self.words = [m.group() for m in matches]
        self.language = language_of(self.words)
        n_capitals = sum(w[0].isupper() for w in self.words)
        self.has_small_nouns = self.language is Language.NOUNS_SMALL and _FEWEST_SMALL * n_capitals <= len(self.words)
        """Whether most words are small, as in a sentence of a language that writes nouns small."""
        self.is_shouted, self.is_small = text.isupper(), text.islower()
        self.cues = _cues()
        self.last_name: int | None = None

    def names(self) -> Iterator[tuple[str, int, int]]:
        """Spans of names; each reaches from its first to its last word."""
        n, at = len(self.words), 0
        particles, titles = self.cues.particles, self.cues.titles
        while at < n:
            word = self.words[at]
            # Most words are small and begin no name: none but particles, and what follows a title or "typed by".
            if not word[0].isupper() and word not in particles and not self.is_small:
                before = self.words[at - 1].lower() if at else ""
                if before not in titles and before != "by":
                    at += 1
                    continue
            last = self._name_from(at)
            if last is None:
                at += 1
            else:
                end = self.ends[last]
                if bare(self.words[last]) != self.words[last].lower():
                    end -= 2
                yield "name", self.starts[at], end
                self.last_name = last
                at = last + 1

    def organisations(self) -> Iterator[tuple[str, int, int]]:
        """Spans of organisations: words with capitals around a noun like "Hospital", and what is named after a cue."""
        for at, word in enumerate(self.words):
            if not word[0].isupper():
                continue
            is_compound = word.lower().endswith(_organisation_endings()) and kind_of(word) == WordKind.NAME
            if is_compound or word.lower() in self.cues.organisations:
                first, last = self._capitals_around(at)
                inside = [
                    w for w in self.words[first : last + 1] if w[0].isupper() and w.lower() not in self.cues.generic
                ]
                kinds = {kind_of(w) for w in inside if w.lower() not in self.cues.organisations}
                is_asked = any(
                    self._is_after(first, cues)
                    for cues in (self.cues.before_places, self.cues.before_organisations, self.cues.before)
                )
                # Two words of the language with capitals inside a sentence: "pay Blue Harbor Insurance".
                is_asked |= len(inside) > 2 and not self.is_shouted and self._is_inside_sentence(first)
                if (is_compound or first != last) and (
                    WordKind.NAME in kinds or (is_asked and max(kinds, default=0) >= WordKind.EPONYM)
                ):
                    # "Policlinico Gemelli, Roma": the town behind it
                    town = last + 1
                    is_town = (
                        self._has_comma(last)
                        and self._has_no_noun_capitals()
                        and kind_of(self.words[town]) == WordKind.NAME
                    )
                    yield (
                        "organisation",
                        self.starts[first],
                        self.ends[town if is_town and self._is_capital(town) else last],
                    )
            elif self._is_after_small_organisation(at):
                first, last = self._capitals_around(at)
                yield "organisation", self.starts[first], self.ends[last]
            elif self._is_institution(at):
                yield "organisation", self.starts[at], self.ends[self._capitals_around(at)[1]]
            elif self._is_after(at, self.cues.before_places) and kind_of(word) >= WordKind.COMMON and len(word) > 1:
                first, last = at, at
                while last - at < _MOST_NAMES and self._goes_on_place(last):
                    last += 1
                while not self._is_capital(last):
                    last -= 1
                if any(w.lower() not in self.cues.generic for w in self.words[first : last + 1]):
                    number = _HOUSE_NUMBER.match(self.text, self.ends[last])
                    yield "address", self.starts[first], number.end() if number else self.ends[last]

    def _is_after_small_organisation(self, at: int) -> bool:
        """ "hôpital Saint-Vincent", "centre Léon-Bérard": in languages that write nouns small a name may follow the
        noun of an organisation.
        """
        word = self.words[at]
        return (
            self.has_small_nouns
            and at > 0
            and self._gap_before(at) == " "
            and self.words[at - 1] in self.cues.organisations
            and kind_of(word) >= WordKind.COMMON
            and len(word) >= _SHORTEST
            and _is_title_case(word)
            and word.lower() not in self.cues.generic
        )

    def _is_institution(self, at: int) -> bool:
        """Whether an organisation's name begins here, whatever words it is made of: behind "at", "by", "Insurance:"
        and the like two words with capitals or more that are no headings, or one behind a noun that is followed by one.
        """
        word = self.words[at]
        is_short = len(word) <= _SHORTEST and not self._is_prefix(at) and not word.isupper()
        is_named = self._is_after(at, self.cues.named_organisations)
        # "ThyssenKrupp" is an organisation where one is asked for.
        is_written_so = _is_title_case(word) or self._is_abbreviation(at) or (is_named and not word.isupper())
        if self.is_shouted or is_short or not is_written_so:
            return False
        if not is_named and not self._is_after(at, self.cues.before_institutions):
            return False
        first, last = self._capitals_around(at)
        inside = [w for w in self.words[at : last + 1] if w[0].isupper()]
        kinds = [kind_of(w) for w in inside]
        if first != at and not is_named:
            return False
        if min(kinds) <= WordKind.EPONYM or all(w.lower() in self.cues.generic for w in inside):
            return False
        if any(w.lower() in self.cues.eponym_heads for w in inside):
            return False
        if is_named:
            return WordKind.NAME in kinds or ":" in self._gap_before(at) or self._has_no_noun_capitals()
        return len(inside) > 1 and self._has_no_noun_capitals()

    def _has_no_noun_capitals(self) -> bool:
        return self.language is not Language.GERMAN

    # --- names ---

    def _name_from(self, at: int) -> int | None:
        """Last word of the name that begins with this word; None where none does."""
        word = self.words[at]
        first = self._first_capital(at)
        if first is None:
            return at if self._is_small_name(at) else None
        is_asked = self._title(at) or self._cue(at)
        # "von Leber", "de Hodgkin": without a cue what stands before the word is no part of a name.
        if (first != at and not is_asked) or not self._begins(first, at):
            return None
        last = first
        while (following := self._following(last, is_first=last == first)) is not None:
            kind = kind_of(self.words[following])
            if not (
                len(self.words[following]) == 1
                or kind >= WordKind.EITHER
                or (kind == WordKind.EPONYM and is_asked)
                or (kind == WordKind.COMMON and is_asked and self._is_given(last))
            ) or self._is_abbreviation(following):
                break
            last = following
        # A single letter is no name, nor the end of one that began without a cue.
        while (
            last > first
            and len(self.words[last]) == 1
            and self.text[self.ends[last] : self.ends[last] + 1] not in (".", "")
        ):
            if self.text[self.ends[last] : self.ends[last] + 1] in (" ", ",", "\n", ")", ";"):
                break
            last -= 1
        return last if last > first or len(word) > 1 else None

    def _first_capital(self, at: int) -> int | None:
        """The first word with a capital of a name that begins here, behind particles; None where none does."""
        for _ in range(_MOST_PARTICLES):
            if at < len(self.words) and self.words[at] in self.cues.particles and self._is_joined(at):
                at += 1
        return at if at < len(self.words) and self.words[at][0].isupper() else None

    def _begins(self, first: int, at: int) -> bool:
        """Whether a name begins with the word `first`; `at` is where its particles begin."""
        word = self.words[first]
        kind = kind_of(word)
        if self._title(at):
            if self._is_shouting_title(at):
                return kind >= WordKind.EITHER and not self._is_abbreviation(first)
            return kind > WordKind.HEADING and (len(word) > 1 or self._following(first) is not None)
        if len(word) == 1:
            return self._begins_with_initial(first, at)
        if kind == WordKind.HEADING or self._is_title(first):
            return False
        if self._is_abbreviation(first) and not self._cue(at):
            return False
        if self._cue(at):
            if kind >= WordKind.EITHER and not self._is_eponym(first):
                return len(word) >= _SHORTEST or kind == WordKind.EITHER or not word.isupper()
            following = self._following(first)
            return following is not None and (self._label(at) or kind_of(self.words[following]) == WordKind.NAME)
        if self._is_before_degree(first) and kind >= WordKind.EITHER:
            return True
        if self._is_given(first) and self._is_pair(first):
            return True
        if self._is_unknown_pair(first):
            return True
        if self._is_turned(first) or self._is_surname_first(first) or self._is_before_age(first):
            return True
        if kind == WordKind.NAME and self._is_unknown_name(first):
            return True
        return self._is_proper_noun(first) or self._does_what_people_do(first) or self._is_met_in_german(first)

    def _is_proper_noun(self, at: int) -> bool:
        """Whether a word of the English list stands with a capital inside a sentence of a language that writes nouns
        small: "les Forges", "Casa Madonna".
        """
        word = self.words[at]
        return (
            self.has_small_nouns
            and kind_of(word) in (WordKind.COMMON, WordKind.EITHER)
            and len(word) > _SHORTEST
            and _is_title_case(word)
            and word.lower() not in self.cues.eponym_heads | self.cues.generic | self.cues.no_persons
            and not word.lower().endswith(medical_endings())
            and self._is_inside_sentence(at)
            and not self._is_eponym(at)
        )

    def _does_what_people_do(self, at: int) -> bool:
        """ "Hinterleitner empfiehlt": an unknown word before a verb whose subject is a person."""
        last = at
        while (following := self._following(last)) is not None and kind_of(self.words[following]) == WordKind.NAME:
            last = following
        after = last + 1
        return (
            after < len(self.words)
            and self.text[self.ends[last] : self.starts[after]] == " "
            and self.words[after] in self.cues.verbs
            and self._may_be_person(at)
        )

    def _is_met_in_german(self, at: int) -> bool:
        """ "besprochen mit Hölzlwimmer", "stammt aus Zwettl": an unknown noun behind a preposition, in a sentence
        that speaks of people or places.
        """
        if self.language is not Language.GERMAN or not at or self._gap_before(at) != " ":
            return False
        before = self.words[at - 1].lower()
        for prepositions, stems in (
            (self.cues.german_persons, self.cues.german_persons_stems),
            (self.cues.german_places, self.cues.german_places_stems),
        ):
            if before in prepositions and self._may_be_person(at + self._is_prefix(at)):
                sentence = self._sentence(at).lower()
                if any(stem in sentence for stem in stems):
                    return True
                is_place = prepositions is self.cues.german_places and at > 1 and self._gap_before(at - 1) == " "
                if is_place and self.words[at - 2].lower().startswith(tuple(self.cues.german_places_after)):
                    return True
        return False

    def _is_prefix(self, at: int) -> bool:
        """Whether "Bad", "Sankt" or the like begins a place here."""
        return self._is_joined(at) and self.words[at].lower() in self.cues.place_prefixes

    def _may_be_person(self, at: int) -> bool:
        word = self.words[at]
        low = word.lower()
        return (
            kind_of(word) == WordKind.NAME
            and len(word) > _SHORTEST
            and _is_title_case(word)
            and low not in self.cues.no_persons
            and not low.endswith(self.cues.no_surnames)
        )

    def _sentence(self, at: int) -> str:
        """What stands between the ends of sentences around a word."""
        start = max(self.text.rfind(end, 0, self.starts[at]) for end in _SENTENCE_ENDS)
        ends = [place for end in _SENTENCE_ENDS if (place := self.text.find(end, self.ends[at])) >= 0]
        return self.text[start + 1 : min(ends, default=len(self.text))]

    def _begins_with_initial(self, first: int, at: int) -> bool:
        """ "J. Doe": an initial and a word that can be a name."""
        following = self._following(first)
        if following is not None and len(self.words[following]) == 1:
            following = self._following(following)
        if following is None or kind_of(self.words[following]) < WordKind.EITHER or self._is_abbreviation(following):
            return False
        if self._cue(at):
            return True
        if (
            self.language is Language.NOUNS_SMALL
            and self.text[self.ends[first]] == "."
            and not self._is_eponym(following)
        ):
            return kind_of(self.words[following]) == WordKind.NAME
        return (
            self.text[self.ends[first]] == "."
            and kind_of(self.words[following]) == WordKind.NAME
            and self._is_unknown_name(following)
        )

    def _is_unknown_name(self, at: int) -> bool:
        """Whether a word of no list is taken for a name where no cue asks for one."""
        word = self.words[at]
        if len(bare(word)) < _SHORTEST or self._is_eponym(at):
            return False
        if word.isupper():
            shortest = _SHORTEST_IN_CAPITAL_TEXT if self.is_shouted else _SHORTEST_IN_CAPITALS
            return self.language is Language.ENGLISH and len(word) >= shortest
        if not _is_title_case(word):
            return False
        if self.language is Language.ENGLISH:
            return True
        return self.language is Language.NOUNS_SMALL and len(word) > _SHORTEST and self._is_inside_sentence(at)

    def _is_small_name(self, at: int) -> bool:
        """ "dr. okafor", "typed by kjl"."""
        word = self.words[at]
        if (
            len(word) < 2
            or not word.islower()
            or kind_of(word) != WordKind.NAME
            or (self.language is not Language.ENGLISH and not self.is_small)
        ):
            return False
        if self.is_small and (self._is_given(at) or self.last_name == at - 1 or self._cue(at)):
            return len(word) > _SHORTEST
        return (self._title(at) and len(word) >= _SHORTEST) or self._is_after(at, self.cues.small_initials_after)

    def _is_eponym(self, at: int) -> bool:
        """Whether a noun of medicine beside the word makes it an eponym."""
        if self._is_after(at, self.cues.eponyms_of):
            return True
        following = at + 1
        while following < len(self.words) and self._is_joined(following - 1) and following <= at + 2:
            if self.words[following].lower() in self.cues.eponym_heads:
                # "Ridgemoor tumor board" is somewhere.
                if following + 1 < len(self.words) and self.words[following + 1].lower() in self.cues.meetings:
                    return False
                # "Miller's scan" is the patient's.
                return (
                    bare(self.words[at]) == self.words[at].lower()
                    or self.words[following].lower() not in self.cues.of_anybody
                )
            if not self.words[following][0].isupper():
                return False
            following += 1
        return False

    def _is_unknown_pair(self, at: int) -> bool:
        """ "Bram Hollingworth" in a language that writes nouns small: two unknown words with capitals, no heading."""
        following = at + 1
        if self.language is not Language.NOUNS_SMALL or not self._is_joined(at):
            return False
        return (
            all(
                kind_of(self.words[n]) == WordKind.NAME and self._is_capital(n) and _is_title_case(self.words[n])
                for n in (at, following)
            )
            and not self._is_eponym(following)
            and self.text[self.ends[following] : self.ends[following] + 2].strip()[:1] != ":"
        )

    def _is_pair(self, at: int) -> bool:
        """Whether a given name is followed by what can be a surname."""
        following = self._following(at)
        if following is not None and len(self.words[following]) == 1:
            following = self._following(following)
        return (
            following is not None
            and kind_of(self.words[following]) >= WordKind.EITHER
            and not self._is_eponym(following)
        )

    def _is_turned(self, at: int) -> bool:
        """ "Smith, John", "SMITH,JOHN": what can be a surname, a comma and a given name."""
        if kind_of(self.words[at]) < WordKind.EITHER or not self._has_comma(at):
            return False
        return self.words[at + 1][0].isupper() and self._is_given(at + 1)

    def _is_before_age(self, at: int) -> bool:
        """ "SMITH, JOHN 66F": a word of no list that begins a line, alone or with another, before age and sex."""
        if kind_of(self.words[at]) != WordKind.NAME or self.text[: self.starts[at]].rstrip(" ")[-1:] not in ("", "\n"):
            return False
        return any(
            _AGE_AND_SEX.match(self.text, self.ends[last]) is not None
            for last in range(at, min(at + 3, len(self.words)))
            if all(kind_of(word) >= WordKind.EITHER for word in self.words[at : last + 1])
        )

    def _is_surname_first(self, at: int) -> bool:
        """ "SMITH JOHN": a word of no list and a given name."""
        following = self._following(at)
        return (
            following == at + 1
            and kind_of(self.words[at]) == WordKind.NAME
            and self._is_given(following)
            and kind_of(self.words[following]) == WordKind.NAME
            and not self._is_abbreviation(at)
            and len(self.words[at]) >= _SHORTEST
        )

    def _is_before_degree(self, at: int) -> bool:
        last = at
        for _ in range(_MOST_NAMES):
            following = self._following(last)
            if following is None or self.words[following].lower() in self.cues.degrees:
                break
            last = following
        degree = re.match(
            r",?\s+((?:[A-Za-z]\.?){1,2}\s?(?:[A-Za-z]\.?){0,4})(?!\w)",
            self.text[self.ends[last] : self.ends[last] + 12],
        )
        if degree is None:
            return False
        letters = re.sub(r"[.\s-]", "", degree[1])
        return (
            letters.lower() in self.cues.degrees
            and letters[0].isupper()
            and len(letters) > 1
            and letters != letters.lower()
        )

    # --- words beside a word ---

    def _following(self, at: int, *, is_first: bool = True) -> int | None:
        """The word that goes on a name, particles passed over, "Smith, John" too; None where the name ends."""
        after = at + 1
        if after >= len(self.words):
            return None
        if self._has_comma(at) and self.words[after][0].isupper():
            is_name = self._is_given(after) or (kind_of(self.words[after]) == WordKind.NAME and self._cue_of_turned(at))
            if len(self.words[after]) == 1:
                # "Strickland, J."
                is_name = self._cue_of_turned(at) and self.text[self.ends[after] : self.ends[after] + 1] in (
                    "",
                    ".",
                    "\n",
                )
            return after if is_name and is_first and not self._is_abbreviation(after) else None
        for after in range(at + 1, min(at + 2 + _MOST_PARTICLES, len(self.words))):
            if not self._is_joined(after - 1):
                return None
            if self.words[after][0].isupper() and self.words[after] not in self.cues.shouted_particles:
                return after
            if self.words[after].lower() not in self.cues.particles:
                return None
        return None

    def _goes_on_a_list(self, at: int) -> bool:
        """Whether a name stands just before, as in "Drs. Roe and Doe" or "cc: Roe; Doe"."""
        if self.last_name is None or kind_of(self.words[at]) != WordKind.NAME or self._is_abbreviation(at):
            return False
        if at - 1 == self.last_name:
            return self._gap_before(at).strip() in ((";", "/", "&") if self.language is Language.GERMAN else _BETWEEN)
        return (
            at - 2 == self.last_name
            and self.words[at - 1] in self.cues.between_names
            and self._gap_before(at).isspace()
        )

    def _cue_of_turned(self, at: int) -> bool:
        """Whether "Name, Name" with an unknown second word is one name: the first is unknown as well."""
        return kind_of(self.words[at]) == WordKind.NAME and (at < 1 or not self._has_comma(at - 1))

    def _has_comma(self, at: int) -> bool:
        return at + 1 < len(self.words) and self.text[self.ends[at] : self.starts[at + 1]] in (", ", ",", ",  ")

    def _is_joined(self, at: int) -> bool:
        """Whether a word and the next are parts of one name, as far as what stands between them goes."""
        if at + 1 >= len(self.words):
            return False
        gap = self.text[self.ends[at] : self.starts[at + 1]]
        if gap in (" ", "  ", "\u00a0"):
            return True
        return gap in (". ", ".", ".-") and (len(self.words[at]) == 1 or self.words[at] in ("St", "Mc"))

    def _is_capital(self, at: int) -> bool:
        return self.words[at][0].isupper()

    def _is_given(self, at: int) -> bool:
        return is_given_name(self.words[at])

    def _is_abbreviation(self, at: int) -> bool:
        """Capitals in mixed text that are too few for a name that no list has."""
        word = self.words[at]
        if self.is_shouted or not word.isupper() or len(word) == 1:
            return False
        return len(word) < _SHORTEST + 1 and not self._is_given(at)

    def _is_inside_sentence(self, at: int) -> bool:
        before = self.text[max(0, self.starts[at] - 3) : self.starts[at]].rstrip(" \"“„('’")
        return bool(before) and (before[-1].islower() or before[-1] == ",") and self.text[self.starts[at] - 1] != "\n"

    def _gap_before(self, at: int) -> str:
        return self.text[self.ends[at - 1] : self.starts[at]] if at else ""

    def _title(self, at: int) -> bool:
        if not at or self._gap_before(at).strip() not in ("", ".", ":"):
            return False
        title = self.words[at - 1]
        if at > 1 and self._gap_before(at - 1) == "." and f"{self.words[at - 2]}{title}".lower() in self.cues.titles:
            return True  # "sig.ra"
        if title.lower() not in self.cues.titles or "\n" in self._gap_before(at):
            return False
        if title.lower() in self.cues.capital_titles and title.isupper():
            return "." in self._gap_before(at)
        return title[0].isupper() or "." in self._gap_before(at) or title.lower() in self.cues.small_titles

    def _is_title(self, at: int) -> bool:
        """Whether a word is a title of what follows: "Prof." of "Prof. Dr. Roe"."""
        following = self.text[self.ends[at] : self.ends[at] + 2]
        return self.words[at].lower() in self.cues.titles and following[:1] in (".", " ") and at + 1 < len(self.words)

    def _is_shouting_title(self, at: int) -> bool:
        title = self.words[at - 1]
        return title.isupper() and title.lower() in self.cues.capital_titles

    def _cue(self, at: int) -> bool:
        if self._is_after(at, self.cues.before) or self._goes_on_a_list(at):
            return True
        if not self._is_after(at, self.cues.before_colon):
            return False
        # "Diktiert Brinkmann, geschrieben ...": a signature without a colon is one word or two and ends.
        return ":" in self._gap_before(at) or (self._may_be_person(at) and self._ends_a_phrase(at))

    def _ends_a_phrase(self, at: int) -> bool:
        """Whether a word of no list, alone or with another, is followed by a sign or by nothing."""
        last = at + (self._is_joined(at) and kind_of(self.words[at + 1]) == WordKind.NAME and self._is_capital(at + 1))
        return self.text[self.ends[last] :].lstrip(" ")[:1] in ("", ",", ";", "/", "\n", ".", ")")

    def _label(self, at: int) -> bool:
        return self._is_after(at, self.cues.labels) and ":" in self._gap_before(at)

    def _is_after(self, at: int, phrases: frozenset[str]) -> bool:
        """Whether one of the phrases, of up to three words, ends just before a word; titles may stand between."""
        if not at or _without_article(self.words[at - 1].lower()) not in _last_words(phrases):
            return False
        gap = self._gap_before(at)
        if gap.strip(" \t\"“„(:-'–") not in ("", "."):
            return False
        previous = _without_article(self.words[at - 1].lower())
        if "." in gap and previous not in self.cues.dotted:
            return False
        if previous in phrases:
            return True
        phrase = previous
        for back in range(at - 2, max(-1, at - 4), -1):
            if self.text[self.ends[back] : self.starts[back + 1]].strip(" ,") not in ("", "-", "'"):
                return False
            phrase = f"{self.words[back].lower()} {phrase}"
            if phrase in phrases:
                return True
        return False

    # --- organisations ---

    def _capitals_around(self, at: int) -> tuple[int, int]:
        """First and last of the words with capitals that a word stands among, with "of", "de" and the like between."""
        first = last = at
        while first and at - first < _MOST_NAMES and self._leads(first):
            first -= 1
        while first < at and not self._is_capital(first):
            first += 1
        while last + 1 < len(self.words) and last - at < _MOST_NAMES and self._goes_on(last):
            last += 1
        while last > at and not self._is_capital(last):
            last -= 1
        return first, last

    def _leads(self, at: int) -> bool:
        gap = self._gap_before(at)
        word = self.words[at - 1]
        return (
            gap in (" ", ". ", ".-")
            and (gap == " " or word == "St")
            # "Aufnahmen der Radiologie": of nouns with capitals none before an article is a part of the name.
            and (self._is_capital(at - 1) or (word in self.cues.links and self._has_no_noun_capitals()))
        )

    def _goes_on_place(self, at: int) -> bool:
        """Whether the next word goes on a place: "Fond du Lac"."""
        return self._is_joined(at) and (
            self._is_capital(at + 1) or self.words[at + 1] in self.cues.links - self.cues.links_of_organisations
        )

    def _goes_on(self, at: int) -> bool:
        word = self.words[at + 1]
        return self.text[self.ends[at] : self.starts[at + 1]] == " " and (
            self._is_capital(at + 1) or word in self.cues.links
        )


_AGE_AND_SEX = re.compile(r",?[ ]+\d{1,3}[ ]?-?(?:[FMfm]\b|[Yy](?:/?[Oo]|\b))")
_HOUSE_NUMBER = re.compile(r"[ ]\d{1,4}[ ]?[a-z]?(?![\w]|[.,]\d)")
_SENTENCE_ENDS = (". ", "; ", "\n", "! ", "? ")
_BETWEEN = (",", ";", "/", "&")


def _without_article(word: str) -> str:
    """ "l'interne" without its article."""
    return word[2:] if word[:2] in ("l'", "l’", "d'", "d’") else word


def _is_title_case(word: str) -> bool:
    """One capital a part: not "SUVmax", but "McGee" and "O'Brien"."""
    parts = re.split(r"['’-]", word.removesuffix("'s").removesuffix("’s"))
    return all(
        part[1:].islower() or len(part) < 2 or part[:2] in ("Mc", "Ma", "De", "Di", "La", "Le", "Va") for part in parts
    )
