"""Presidio beside our own rules: with a blank model of spaCy, whose only findings are those of Presidio's patterns."""

import pytest

from pipelines.cohort.privacy.presidio import Presidio, installed_model, presidio_version
from pipelines.cohort.privacy.text_identifiers import scan

pytest.importorskip("presidio_analyzer")


@pytest.fixture(scope="module")
def presidio(tmp_path_factory: pytest.TempPathFactory) -> Presidio:
    spacy = pytest.importorskip("spacy")
    folder = tmp_path_factory.mktemp("model")
    spacy.blank("en").to_disk(folder)
    return Presidio(folder)


class TestPresidio:
    def test_finds_what_its_patterns_know(self, presidio: Presidio) -> None:
        text = "Mail jane@clinic.example.org, IBAN DE89370400440532013000, from 10.20.30.41."
        found = {(kind, text[start:end]) for kind, start, end in presidio.spans(text)}
        assert {
            ("email", "jane@clinic.example.org"),
            ("number", "DE89370400440532013000"),
            ("ip", "10.20.30.41"),
        } <= found

    def test_takes_no_measurement(self, presidio: Presidio) -> None:
        assert (
            list(presidio.spans("Node of 1.2 x 0.8 cm, SUVmax 6.3, image 77 of 299, Deauville 4, on 03/14/2023.")) == []
        )

    def test_is_merged_with_our_own(self, presidio: Presidio) -> None:
        text = "Dr. Roe wrote from 10.20.30.41."
        found = [(i.kind, text[i.start : i.end]) for i in scan(text, more=presidio.spans(text))]
        assert found == [("name", "Roe"), ("ip", "10.20.30.41")]

    def test_has_a_version_where_a_model_is_installed(self) -> None:
        assert (presidio_version() is None) == (installed_model() is None)
