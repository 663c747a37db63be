"""CIDEr-D as pycocoevalcap computes it (its class Cider), as a corpus metric that can be resampled.

Vedantam et al. 2015, with the clipping and the length penalty of the D variant, sigma 6, 1- to 4-grams, times 10.
Rareness is counted in the references of the corpus at hand, so a value is never a mean over parts: under weights it is
computed anew. One pair alone scores 0, for in a corpus of one no phrase is rare.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from model.evaluation.metrics.pairs import Pairs
from pipelines.settings import ScoreSettings

_MAX_N = 4
_SIGMA = 6.0
_CHUNK = 32
_TOKEN = re.compile(r"[a-z0-9]+(?:[.'/-][a-z0-9]+)*|\[#\]")


def tokenize(text: str) -> list[str]:
    """Lower-case words and numbers without punctuation, after the manner of the tokenizer that pycocoevalcap runs in
    Java.
    """
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True)
class Cider:
    """CIDEr-D of a corpus as a function of the weights of its pairs."""

    matches: tuple[sparse.csr_matrix, ...]
    """For each n: pairs x n-grams, the clipped count of the text times the count of the reference."""
    texts: tuple[sparse.csr_matrix, ...]
    """For each n: squared counts of the text."""
    references: tuple[sparse.csr_matrix, ...]
    """For each n: squared counts of the reference."""
    penalty: np.ndarray
    signature: str

    @property
    def n(self) -> int:
        """Pairs in the corpus."""
        return len(self.penalty)

    @property
    def per_sample(self) -> np.ndarray:
        """Score of every pair within the whole corpus."""
        return self._scores(np.ones((1, self.n)))[:, 0]

    def values(self, weights: np.ndarray) -> np.ndarray:
        """CIDEr of the corpus under each row of weights (resamples x samples); rareness is that of the weighted
        references.
        """
        out = []
        for start in range(0, len(weights), _CHUNK):
            part = weights[start : start + _CHUNK]
            total = part.sum(axis=1)
            sums = (self._scores(part) * part.T).sum(axis=0)
            out.append(np.divide(sums, total, out=np.full(len(part), np.nan), where=total > 0))
        return np.concatenate(out) if out else np.empty(0)

    def _scores(self, weights: np.ndarray) -> np.ndarray:
        """Pairs x resamples."""
        scores = np.zeros((self.n, len(weights)))
        log_size = np.log(np.maximum(weights.sum(axis=1), 1.0))
        for matches, texts, references in zip(self.matches, self.texts, self.references, strict=True):
            frequency = (references > 0).astype(float).T @ weights.T
            # A phrase that no reference has counts as one that a single reference has.
            rareness = (log_size - np.log(np.maximum(frequency, 1.0))) ** 2
            norms = np.sqrt((texts @ rareness) * (references @ rareness))
            scores += np.divide(matches @ rareness, norms, out=np.zeros_like(scores), where=norms > 0)
        return 10.0 / _MAX_N * scores * self.penalty[:, None]


def cider_of(texts: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Cider:
    """CIDEr-D of tokenized texts with one tokenized reference each."""
    lengths = np.array(
        [[max(len(t) - 1, 0), max(len(r) - 1, 0)] for t, r in zip(texts, references, strict=True)], float
    )
    lengths = lengths.reshape(-1, 2)  # In 2-grams: that is how the package counts a text's length.
    penalty = np.exp(-((lengths[:, 0] - lengths[:, 1]) ** 2) / (2 * _SIGMA**2))
    matrices = [_matrices(texts, references, n) for n in range(1, _MAX_N + 1)]
    matches, of_texts, of_references = zip(*matrices, strict=True)
    return Cider(matches, of_texts, of_references, penalty, "petar|CIDEr-D|n:4|sigma:6|tok:lower, no punctuation|x10")


def _matrices(
    texts: Sequence[Sequence[str]], references: Sequence[Sequence[str]], n: int
) -> tuple[sparse.csr_matrix, sparse.csr_matrix, sparse.csr_matrix]:
    columns: dict[tuple[str, ...], int] = {}
    entries: tuple[list[tuple[int, int, int]], ...] = ([], [], [])
    for row, (text, reference) in enumerate(zip(texts, references, strict=True)):
        of_text, of_reference = _ngrams(text, n), _ngrams(reference, n)
        for phrase in of_text | of_reference:
            column = columns.setdefault(phrase, len(columns))
            t, r = of_text[phrase], of_reference[phrase]
            for values, value in zip(entries, (min(t, r) * r, t * t, r * r), strict=True):
                if value:
                    values.append((row, column, value))
    shape = (len(texts), max(len(columns), 1))
    matches, of_texts, of_references = (_sparse(values, shape) for values in entries)
    return matches, of_texts, of_references


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _sparse(entries: Sequence[tuple[int, int, int]], shape: tuple[int, int]) -> sparse.csr_matrix:
    rows, columns, values = np.array(entries, float).reshape(-1, 3).T
    return sparse.csr_matrix((values, (rows.astype(int), columns.astype(int))), shape=shape)


def cider(pairs: Pairs, settings: ScoreSettings) -> Cider:
    """CIDEr-D of the pairs."""
    return cider_of([tokenize(t) for t in pairs.texts], [tokenize(r) for r in pairs.references])
