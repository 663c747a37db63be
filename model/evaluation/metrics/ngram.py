"""Metrics of words in common: BLEU, ROUGE-1 and ROUGE-L, all on 0..1."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from model.evaluation.metrics.pairs import Mean, Pairs
from pipelines.settings import ScoreSettings


@dataclass(frozen=True)
class Bleu:
    """Corpus BLEU as a function of the pairs' n-gram counts, so that it can be resampled as the corpus metric that it
    is.
    """

    per_sample: np.ndarray
    statistics: np.ndarray
    """Pairs x 10, in sacrebleu's order: lengths of text and reference, matches of 1- to 4-grams, their totals."""
    signature: str

    def values(self, weights: np.ndarray) -> np.ndarray:
        """BLEU of the corpus under each row of weights (resamples x samples)."""
        from sacrebleu.metrics import BLEU

        sums = np.rint(weights @ self.statistics).astype(int)
        metric = BLEU()
        return np.array([metric._compute_score_from_stats(row.tolist()).score / 100 for row in sums])

    @property
    def n(self) -> int:
        """Pairs in the corpus."""
        return len(self.statistics)


def bleu_of(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """BLEU of texts with one or more references each; `references` are streams, as sacrebleu takes them."""
    from sacrebleu.metrics import BLEU

    metric, of_sentences = BLEU(), BLEU(effective_order=True)
    streams = [list(stream) for stream in references]
    statistics = metric._extract_corpus_statistics(list(texts), streams)
    each = [of_sentences._compute_score_from_stats(list(row)).score / 100 for row in statistics]
    return Bleu(np.array(each), np.array(statistics, float).reshape(-1, 10), str(metric.get_signature()))


def bleu(pairs: Pairs, settings: ScoreSettings) -> Bleu:
    """BLEU-4 of sacrebleu, 13a tokens, case kept, exponential smoothing; per sample with effective order."""
    return bleu_of(pairs.texts, [pairs.references])


def rouge_1(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean F of rouge-score's rouge1 with Porter's stemmer: words in common, whatever their order."""
    return _rouge("rouge1", pairs)


def rouge_l(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean F of rouge-score's rougeL with Porter's stemmer."""
    return _rouge("rougeL", pairs)


def _rouge(kind: str, pairs: Pairs) -> Mean:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], use_stemmer=True)
    each = [scorer.score(r, t)[kind].fmeasure for t, r in zip(pairs.texts, pairs.references, strict=True)]
    return Mean(np.array(each, float), f"rouge-score|{kind}|F|stemmer:porter|version:{version('rouge-score')}")
