"""Metrics of generated texts: one registry, scores per split with intervals over patients, and scores per sample.

A metric that can not be computed (weights, packages or data missing) is reported as `not computed` with what is
missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

import numpy as np
import polars as pl

from model.evaluation.metrics import cider, judges, lesion, meteor, neural, ngram
from model.evaluation.metrics.intervals import effective_patients, patient_weights, percentile_interval
from model.evaluation.metrics.pairs import ALL_LESIONS, TEXT_COLUMNS, Mean, Pairs, pairs_of, with_others
from model.evaluation.metrics.published import published_scores
from model.evaluation.metrics.settings import NotComputableError
from pipelines.settings import ScoreSettings
from pipelines.tables import schemas
from pipelines.tables.hashing import hash_of
from pipelines.tables.provenance import code_version

__all__ = [
    "METRICS",
    "Mean",
    "Metric",
    "NotComputableError",
    "Pairs",
    "pairs_of",
    "main_numbers",
    "metrics_version",
    "published_scores",
    "score",
    "score_subsets",
    "with_others",
]


class Computed(Protocol):
    """A metric on some pairs: its score per sample (NaN where there is none) and its value under weights of the
    samples.
    """

    @property
    def per_sample(self) -> np.ndarray: ...

    @property
    def signature(self) -> str: ...

    @property
    def n(self) -> int: ...

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Value under each row of weights (resamples x samples)."""
        ...


@dataclass(frozen=True)
class Metric:
    """A named metric; `compute` raises NotComputableError where something is missing."""

    name: str
    compute: Callable[[Pairs, ScoreSettings], Computed]
    description: str
    is_of_corpus: bool = False
    """A pair's score depends on the other pairs of the corpus, so that it is computed anew for every corpus."""
    is_of_words: bool = False
    """The words of the whole text count, numbers too: it is computed for every kind of numbers."""
    needs_model: bool = False
    """It asks a model, which takes time."""
    question: str = "words"
    """What it answers: metrics of one question are tested as one family."""


_ALL = (
    Metric("BLEU", ngram.bleu, "Words and phrases in common, corpus level (sacrebleu)", True, True),
    Metric("ROUGE-1", ngram.rouge_1, "Words in common whatever their order, F (rouge-score)", is_of_words=True),
    Metric("ROUGE-L", ngram.rouge_l, "Longest common subsequence of words, F (rouge-score)", is_of_words=True),
    Metric("METEOR", meteor.meteor, "Words in common by form, stem and synonym", is_of_words=True),
    Metric(
        "meteor_no_synonyms",
        meteor.meteor_no_synonyms,
        "METEOR without its synonyms, where there is no WordNet: not to be compared with published values",
        is_of_words=True,
    ),
    Metric("CIDEr", cider.cider, "Phrases in common, weighted by how rare they are in the references", True, True),
    Metric("BERTScore", neural.bertscore, "Words alike in context", is_of_words=True, needs_model=True),
    Metric(
        "BARTScore", neural.bartscore, "Likelihood of the reference given the text", is_of_words=True, needs_model=True
    ),
    Metric("RaTEScore", judges.ratescore, "Entities alike", is_of_words=True, needs_model=True),
    Metric(
        "GREEN", judges.green, "Errors counted by a judge, trained on chest X-ray", is_of_words=True, needs_model=True
    ),
    Metric("region", lesion.accuracy("region"), "Region of the body as in the reference", question="place"),
    Metric("organ", lesion.accuracy("organ"), "Organ as in the reference", question="place"),
    Metric("laterality", lesion.accuracy("laterality"), "Side as in the reference", question="place"),
    Metric(
        "comparison",
        lesion.accuracy("comparison"),
        "Change since the prior exam as in the reference",
        question="change",
    ),
    Metric(
        "numbers", lesion.accuracy("numbers"), "SUVmax within 0.1 and slice as in the reference", question="numbers"
    ),
    Metric(
        "numbers as generated",
        lesion.generated_numbers,
        "The same before measured numbers were put in",
        question="numbers",
    ),
    Metric(
        "grounding",
        lesion.grounding,
        "Place fits the masked lesion better than the nearest other one",
        question="grounding",
    ),
    Metric(
        "grounding among all",
        lesion.grounding_among_all,
        "The same, better than any other lesion of the exam",
        question="grounding",
    ),
    Metric(
        "hallucinated",
        lesion.hallucinated,
        "Texts that name an organ which the reference has not; less is better",
        question="invention",
    ),
)
LESS_IS_BETTER = frozenset({"hallucinated"})
"""Metrics that count errors."""

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


DEFAULTS = ScoreSettings()


def metrics_version(settings: ScoreSettings = DEFAULTS) -> str:
    """Hash of all that scores depend on but the texts: code, packages, settings, and which weights and data are there
    now.
    """
    packages = {name: version(name) for name in ("sacrebleu", "rouge-score", "nltk")}
    try:
        wordnet = str(meteor.find_wordnet(settings.wordnet))
    except NotComputableError:
        wordnet = ""
    weights = [settings.bertscore_model, settings.bartscore_model, settings.ratescore_python]
    there = [path is not None and path.exists() for path in weights]
    return hash_of(code_version(__name__), packages, sorted(METRICS), settings, wordnet, there)


def main_numbers(settings: ScoreSettings) -> str:
    """The kind of numbers by which models are compared."""
    return next(kind for kind, column in TEXT_COLUMNS.items() if column == settings.text_column)


def score(
    predictions: pl.DataFrame,
    names: Sequence[str] | None = None,
    settings: ScoreSettings = DEFAULTS,
    kinds: Sequence[str] = tuple(TEXT_COLUMNS),
) -> pl.DataFrame:
    """Rows of `scores`: every metric of every model and split of `predictions`, with intervals over patients.

    Metrics of words have a row for each kind of numbers, that of `settings.text_column` first; the others have that
    one alone; `kinds` says which, besides it. `names` are keys of METRICS, all by default. An empty text scores 0. What
    gives no pair (two predictions for a lesion, a text that failed on its way, an empty reference) is named in the
    note; a metric that can not be computed has status `not computed` and no value. A column `subset` divides the
    lesions: a row each.
    """
    chosen = [_metric(name) for name in (METRICS if names is None else names)]
    main = main_numbers(settings)
    if "subset" not in predictions.columns:
        predictions = predictions.with_columns(subset=pl.lit(ALL_LESIONS))
    rows = []
    groups = predictions.group_by("model", "split", "subset")
    for (model, split, subset), part in sorted(groups, key=lambda group: str(group[0])):
        about = {"model": model, "split": split, "subset": subset}
        for numbers in (main, *(kind for kind in kinds if kind != main)):
            wanted = [metric for metric in chosen if metric.is_of_words or numbers == main]
            rows += [about | {"numbers": numbers} | row for row in _score_rows(wanted, part, numbers, settings)]
    return schemas.frame("scores", rows)


def score_subsets(predictions: pl.DataFrame, subsets: pl.DataFrame, settings: ScoreSettings = DEFAULTS) -> pl.DataFrame:
    """Rows of `scores` of parts of the lesions, as models are compared: by all metrics that ask no model.

    `subsets` has a row (finding_id, subset) for each part that a lesion belongs to.
    """
    names = [name for name, metric in METRICS.items() if not metric.needs_model]
    divided = predictions.join(subsets, on="finding_id")
    return score(divided, names, settings, (main_numbers(settings),))


def _metric(name: str) -> Metric:
    if name not in METRICS:
        raise ValueError(f"expected a metric ({', '.join(METRICS)}), got {name!r}")
    return METRICS[name]


def _score_rows(
    metrics: Sequence[Metric], predictions: pl.DataFrame, numbers: str, settings: ScoreSettings
) -> Iterator[dict[str, object]]:
    column = TEXT_COLUMNS[numbers]
    pairs = pairs_of(predictions, column)
    weights = patient_weights(pairs.patients, settings.n_resamples, settings.seed) if len(pairs) else None
    for metric in metrics:
        yield _score_row(metric, pairs, weights, settings.model_copy(update={"text_column": column}))


def _score_row(metric: Metric, pairs: Pairs, weights: np.ndarray | None, settings: ScoreSettings) -> dict[str, object]:
    row: dict[str, object] = {"metric": metric.name, "note": pairs.note, "n_left_out": pairs.n_left_out}
    if weights is None:
        return row | {"status": "not computed", "n": 0, "note": _join("no text has a reference", pairs.note)}
    try:
        computed = metric.compute(pairs, settings)
    except NotComputableError as error:
        return row | {"status": "not computed", "note": str(error)}
    value = float(computed.values(np.ones((1, len(pairs))))[0])
    if not np.isfinite(value):
        return row | {"status": "not computed", "n": 0, "note": _join("no reference says it", pairs.note)}
    centre = None if isinstance(computed, Mean) else value
    n_patients = effective_patients(pairs.patients)
    low, high = percentile_interval(computed.values(weights), settings.level, n_patients, centre)
    if len(set(pairs.patients)) < 2:
        low = high = None
        row["note"] = _join("no interval: one patient", pairs.note)
    row["note"] = _join(row["note"], getattr(computed, "note", None)) or None
    signature = f"{computed.signature}|text:{settings.text_column}"
    return row | {
        "status": "computed",
        "value": value,
        "low": low,
        "high": high,
        "n": computed.n,
        "signature": signature,
    }


def _join(*parts: object) -> str:
    return "; ".join(str(part) for part in parts if part)
