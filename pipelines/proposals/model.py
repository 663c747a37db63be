"""The model of proposals: boosted trees over the features of candidates, the mean of three seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from pipelines.tables.hashing import hash_of
from pipelines.tables.provenance import code_version

SEEDS = (0, 1, 2)
TREES, LEAVES, RATE, LEAST_LEAF, PENALTY, FEATURES_A_SPLIT = 250, 12, 0.05, 12, 2.0, 0.25
"""Boosted trees: how many, leaves of each, learning rate, least candidates of a leaf, L2 penalty of a leaf's value,
part of the features that a split chooses from."""


class ProposalsExtraError(ImportError):
    """scikit-learn is not installed; the message says how to get it."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Candidates whose answer is known or assumed; arrays of n."""

    features: NDArray[np.float64]
    """(n, f) in the order of `candidate_features.FEATURES`; NaN: not known."""
    is_lesion: NDArray[np.bool_]
    weight: NDArray[np.float64]
    share: float | None = None
    """Lesions among the candidates of exams as they come [ratio]; null: among these examples."""

    def __len__(self) -> int:
        return len(self.weight)

    @classmethod
    def joined(cls, parts: Sequence["Examples"], share: float | None = None) -> Self:
        """All of them, in this order; `share` as of the field."""
        return cls(
            np.concatenate([p.features for p in parts]),
            np.concatenate([p.is_lesion for p in parts]),
            np.concatenate([p.weight for p in parts]),
            share,
        )

    @property
    def version(self) -> str:
        """Hash of what the model is trained on, and of the code that trains it."""
        arrays = (self.features, self.is_lesion, self.weight)
        data = [np.ascontiguousarray(array).tobytes().hex() for array in arrays]
        return hash_of(code_version(__name__), _library_version(), data, self.share)

    @property
    def log_odds_shift(self) -> float:
        """What leads from the log odds of a lesion among the examples to those in exams as they come.

        Lesions are put into exams, and drawn, many more than exams have; a model says the odds of what it was trained
        on (Elkan 2001, "The foundations of cost-sensitive learning", theorem 2).
        """
        if self.share is None:
            return 0.0
        here = float(self.weight[self.is_lesion].sum() / self.weight.sum())
        return float(logit(self.share) - logit(here))


@dataclass(frozen=True)
class ProposalModel:
    """A trained model."""

    trees: tuple[Any, ...]
    known: NDArray[np.bool_]
    """Features (f,) that some example has; the others are not read."""
    log_odds_shift: float = 0.0
    """As `Examples.log_odds_shift`."""

    def probability(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of candidates (n, f) the probability (n,) that each is a lesion that would be reported."""
        if not len(features):
            return np.zeros(0)
        p = np.mean([one.predict_proba(features[:, self.known])[:, 1] for one in self.trees], axis=0)
        return np.asarray(expit(logit(p) + self.log_odds_shift))


def train(examples: Examples) -> ProposalModel:
    """The model of these examples; the same for the same examples.

    Raises:
        ProposalsExtraError: scikit-learn is not installed.
        ValueError: there is no lesion among the examples, or nothing else.
    """
    classifier = _classifier()
    if examples.is_lesion.all() or not examples.is_lesion.any():
        raise ValueError(
            f"expected lesions and others among {len(examples)} candidates, got {int(examples.is_lesion.sum())} "
            "lesions: curate exams with reports first"
        )
    known = np.asarray(np.isfinite(examples.features).any(axis=0))
    made = []
    for seed in SEEDS:
        one = classifier(
            learning_rate=RATE,
            max_iter=TREES,
            max_leaf_nodes=LEAVES,
            min_samples_leaf=LEAST_LEAF,
            l2_regularization=PENALTY,
            max_features=FEATURES_A_SPLIT,
            early_stopping=False,
            random_state=seed,
        )
        made.append(one.fit(examples.features[:, known], examples.is_lesion, sample_weight=examples.weight))
    return ProposalModel(tuple(made), known, examples.log_odds_shift)


def _classifier() -> Any:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError as error:
        raise ProposalsExtraError(
            "expected scikit-learn, which ranks proposals; it is not installed: pip install 'petar[proposals]'"
        ) from error
    return HistGradientBoostingClassifier


def _library_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("scikit-learn")
    except PackageNotFoundError:
        return ""
