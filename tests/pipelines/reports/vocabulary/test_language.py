"""Which language a report is written in."""

import csv
from pathlib import Path

import pytest

from pipelines.reports.rules.pairs import extract
from pipelines.reports.scorecard import load_labelled
from pipelines.reports.sentences import split_report
from pipelines.reports.vocabulary.language import UNKNOWN, language_of
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from pipelines.tables.outcomes import Outcome

FOLDER = Path(__file__).parents[1] / "labelled"


def test_equal_evidence_tells_the_same_language_in_every_run():
    # Words of German and Dutch alike; the order of a set of them differs between processes.
    assert {language_of(text) for text in ("rechts links", "links rechts")} == {"de"}


def test_labelled_sentences_are_english():
    assert [item.text for item in load_labelled() if language_of(item.text) != "en"] == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_single_sentences_tell_their_language(path):
    with path.open(encoding="utf-8", newline="") as file:
        told = [language_of(row["text"]) for row in csv.DictReader(file)]
    assert told.count(path.stem[:2]) >= 0.96 * len(told)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Nódulo no pulmão direito com captação, SUVmáx de 5,2, não visto no exame anterior.", "pt"),
        ("Powiększony węzeł chłonny po stronie prawej z wychwytem SUVmax 5,2, nie jest widoczny.", "pl"),
        ("Лимфоузел справа, SUVmax 5,2", "ru"),
        ("右肺上葉に結節を認め、SUVmax 5.2です。", "ja"),
        ("右肺上叶结节，SUVmax 5.2。", "zh"),
        ("우상엽 결절 SUVmax 5.2", "ko"),
        ("Hypermetabolisk lymfekörtel och upptag på höger sida, SUVmax 5,2, inte vid förra.", "sv"),
        ("RUL nodule SUVmax 4.2 (slice 88).", "en"),
        ("Hypermetabolic stations 4R and 7. Pulmonary metastases in the RUL.", "en"),
        ("Herd im BWK 8, SUVmax 7,0, Schicht 118, in Serie 3.", "de"),
        ("", "en"),
        ("ǂʼAmkoe ǃXóõ ɡǁxˀ", UNKNOWN),
    ],
)
def test_languages_without_a_glossary_are_told(text, language):
    assert language_of(text) == language


def test_a_language_that_the_rules_do_not_read_gives_no_value_but_a_reason():
    (sentence,) = split_report("E", "Powiększony węzeł chłonny po stronie prawej nie jest z wychwytem SUVmax 5,2.")
    found = extract(sentence.sentence, package_vocabulary().of(sentence.language))
    assert (found.lesions, found.reason) == ((), Outcome.OTHER_LANGUAGE)
    assert sentence.language in found.note
