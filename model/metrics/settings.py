"""How scores and their intervals are made, and where the weights lie that some metrics need."""

from dataclasses import dataclass
from pathlib import Path


class NotComputableError(RuntimeError):
    """Why a metric can not be computed here: which weights, package or data are missing, and how to give them."""


@dataclass(frozen=True)
class ScoreSettings:
    """How scores and their intervals are made. What is None is missing, and the metrics that need it say so."""

    n_resamples: int = 1000
    seed: int = 20251027
    level: float = 0.95
    text_column: str = "text_measured"
    """The column of `predictions` that is scored: with measured numbers, or `text` as the model wrote it."""

    wordnet: Path | None = None
    """METEOR: folder of WordNet 3.0's database files (data.noun, ...); None looks where nltk and Debian put it."""
    bertscore_model: Path | None = None
    """BERTScore: folder of a language model as transformers saves it (the paper's variant is not known; roberta-large
    is usual).
    """
    bertscore_layer: int = 17
    """Hidden layer whose vectors are compared; 17 is the usual one of roberta-large."""
    bartscore_model: Path | None = None
    """BARTScore: folder of a BART as transformers saves it (bart-large-cnn is usual)."""
    ratescore_python: Path | None = None
    """RaTEScore: interpreter of a venv with the package RaTEScore, which needs numpy < 2."""
    ratescore_weights: tuple[Path, Path] | None = None
    """RaTEScore: folders of its entity recogniser and of its embedding model."""
    green_url: str | None = None
    """GREEN: base URL of an OpenAI-compatible server, such as vLLM, with the judge's weights."""
    green_model: str = "StanfordAIMI/GREEN-RadLlama2-7b"
    green_prompt: Path | None = None
    """GREEN: a prompt with {reference} and {candidate} in it; None takes the one of this project."""
    green_in_flight: int = 16
    green_timeout_s: float = 120.0
    device: str = "cpu"
