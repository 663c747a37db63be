"""Identifiers that Microsoft Presidio finds, beside our own: where it and a model of spaCy for English are installed.

Its names and places are taken but for eponyms and words of medicine, its dates never: "today" is one.
"""

from collections.abc import Iterator
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from pipelines.cohort.privacy.measured_numbers import is_measured
from pipelines.cohort.privacy.name_words import WordKind, kind_of

_PACKAGE, _LANGUAGE = "presidio_analyzer", "en"
_LEAST_SCORE = 0.4
"""Presidio's score from which on a finding counts: of its patterns without a word beside them most are below."""
_KINDS = {
    "PERSON": "name",
    "LOCATION": "address",
    "ORGANIZATION": "organisation",
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IP_ADDRESS": "ip",
    "URL": "url",
    "US_SSN": "ssn",
}
_OTHER_KIND = "number"
_LEFT = frozenset(("DATE_TIME", "NRP", "AGE"))
_WORDS = frozenset(("name", "address", "organisation"))


def installed_model() -> str | None:
    """Name of the spaCy model that Presidio works with; None where it or a model for English is not installed."""
    if util.find_spec(_PACKAGE) is None or util.find_spec("spacy") is None:
        return None
    import spacy.util

    models = sorted(name for name in spacy.util.get_installed_models() if name.startswith(f"{_LANGUAGE}_"))
    return models[0] if models else None


@cache
def presidio_version() -> str | None:
    """Versions of Presidio and of its model, which texts depend on; None where they are not installed."""
    model = installed_model()
    return model and f"{metadata.version('presidio-analyzer')} {model} {metadata.version(model.replace('_', '-'))}"


class Presidio:
    """Presidio's analyser with a spaCy model.

    Args:
        model: name of an installed model, or the folder of one.
    """

    def __init__(self, model: str | Path) -> None:
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider

        models = [{"lang_code": _LANGUAGE, "model_name": str(model)}]
        provider = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models})
        self._analyzer: Any = AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=[_LANGUAGE])

    def spans(self, text: str) -> Iterator[tuple[str, int, int]]:
        """(kind, start, end) of what Presidio finds and our own words do not speak against."""
        for result in self._analyzer.analyze(text, language=_LANGUAGE, score_threshold=_LEAST_SCORE):
            if result.entity_type in _LEFT:
                continue
            kind = _KINDS.get(result.entity_type, _OTHER_KIND)
            if kind in _WORDS:
                words = text[result.start : result.end].split()
                if not any(word[0].isupper() and kind_of(word.strip(".,;:()")) >= WordKind.EITHER for word in words):
                    continue
            elif is_measured(text, result.start):
                continue
            yield kind, result.start, result.end


@cache
def installed_presidio() -> Presidio | None:
    """Presidio with the installed model, made once; None where there is none."""
    model = installed_model()
    return Presidio(model) if model else None
