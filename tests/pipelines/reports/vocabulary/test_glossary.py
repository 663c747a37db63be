"""Words of other languages for those of the English cues and lexicon."""

import itertools
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.sentences import split_report
from pipelines.reports.structure import find_anatomy, section_region, structure, without_references
from pipelines.reports.vocabulary.glossary import FOLDER, LANGUAGES
from pipelines.reports.vocabulary.vocabulary import package_vocabulary

GERMAN = "Hypermetaboler Lymphknoten rechts axillär, SUVmax 5,2 (Schicht 88), vormals 7,1."
PIECES = st.sampled_from(
    [
        "Lymphknoten ", "rechts ", "axillär", "SUVmax 5,2", " (Schicht 88)", ". ", "z.B. ", "BWK 8 ", "Th8",
        "l'aisselle ", "; ", "\n", "Herd im ", "Nebennierenmetastase ", "à ", "İ", "ß", "THORAX: ", "1. ",
        "12. März ", "vormals 7,1", "de 3,1 à 6,9 ",
    ]
)  # fmt: skip


def in_english(text, language):
    return package_vocabulary().of(language).read(text).text


@pytest.mark.parametrize(
    ("language", "text", "english"),
    [
        ("de", "Nebennierenmetastase links", "adrenal gland metastasis left"),
        ("de", "Herd in BWK 8 und LWK3", "focus in t8 and l3"),
        ("de", "SUVmax 5,2", "suvmax 5.2"),
        ("fr", "ganglion de l'aisselle droite", "lymph node of the axilla right"),
        ("fr", "SUVmax passée de 3,1 à 6,9", "suvmax decreased from 3.1 to 6.9"),
        ("es", "SUVmax de 3,1 a 6,9", "suvmax from 3.1 to 6.9"),
        ("it", "non è più visibile", "is no longer visible"),
        ("nl", "ten opzichte van het vorige onderzoek", "compared to the prior exam"),
        ("nl", "bijniermetastase", "adrenal gland metastasis"),
    ],
)
def test_words_phrases_compounds_and_numbers(language, text, english):
    assert in_english(text, language) == english


def test_what_is_found_has_its_place_in_the_text():
    words = package_vocabulary().of("de")
    (node, *_) = find_anatomy(GERMAN.lower(), words)
    assert GERMAN[node.start : node.end] == "Lymphknoten"


def test_fields_are_in_the_english_vocabulary_and_the_text_in_its_own_language():
    words = package_vocabulary().of("de")
    fields = structure(GERMAN, None, words)
    assert (fields.organ, fields.laterality, fields.comparison) == ("lymph node", "right", "decreased")
    assert without_references(GERMAN, words) == "Hypermetaboler Lymphknoten rechts axillär, SUVmax 5,2, vormals 7,1."


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_english_of_places_is_in_the_lexicon_or_a_heading(language):
    """A place whose English the lexicon does not know would be lost without a word."""
    places = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))["places"]
    parts = {"", "lymphoma", "segment", "scar", "left lobe", "right lobe", "body", "resection of"}
    lost = {e for e in places.values() if "+" not in e and not find_anatomy(e) and section_region(e) is None}
    assert lost <= parts


@pytest.mark.parametrize("language", LANGUAGES[1:])
@given(text=st.one_of(st.text(max_size=120), st.lists(PIECES, max_size=20).map("".join)))
@settings(max_examples=60, deadline=None)
def test_spans_of_a_translation_stay_within_the_text_and_in_order(language, text):
    translation = package_vocabulary().of(language).in_english(text)
    length = len(translation.text)
    spans = [translation.original(n, n + 1) for n in range(length)]
    assert all(0 <= a <= b <= len(text) for a, b in spans)
    assert [a for a, _ in spans] == sorted(a for a, _ in spans)
    assert translation.original(0, length) == (0, len(text)) or not length


@given(st.lists(PIECES, max_size=25).map("".join))
@settings(max_examples=100, deadline=None)
def test_units_of_any_language_are_the_reports_own_text(report):
    sentences = split_report("E", "Der Befund ist nicht von der Voruntersuchung verschieden. " + report)
    assert all(s.sentence.strip() for s in sentences)
    assert all(a.end <= b.start for a, b in itertools.pairwise(sentences))
