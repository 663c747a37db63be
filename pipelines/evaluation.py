"""Parameters of the evaluation: how scores are made, which other models are asked, what is studied beside. Tables of
`[evaluation]` in the settings file.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


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
    green_max_tokens: int = 1024
    green_retries: int = 3
    green_cache: Path | None = None
    """GREEN: file of answers, so that no pair is judged twice; None keeps none."""
    device: str = "cpu"


@dataclass(frozen=True)
class VlmSettings:
    """A vision-language model on an OpenAI-compatible server that describes held-out lesions too."""

    name: str = ""
    """What it is called in the tables; empty: the model's name."""
    model: str = ""
    """Model as the server names it."""
    base_url: str = "http://127.0.0.1:8000/v1"
    api_key_env: str = ""
    """Environment variable that holds the key; empty: none is needed."""
    images: bool = True
    """False: the model gets the measurements alone, for one that takes no pictures."""
    concurrency: int = 16
    timeout_s: float = 120.0
    max_retries: int = 5
    backoff_s: float = 0.5
    backoff_max_s: float = 15.0
    give_up_after: int = 8
    max_tokens: int = 256

    @property
    def label(self) -> str:
        """The model's name in the tables."""
        return self.name or self.model


@dataclass(frozen=True)
class CheckpointSettings:
    """Another checkpoint of `model/` that describes held-out lesions too: M3D-RAD, an earlier PETAR, one of another
    site.
    """

    name: str = ""
    folder: Path | None = None


@dataclass(frozen=True)
class RobustnessSettings:
    """How masks are changed to see what a model's texts lose by it."""

    split: str = "test"
    margins_mm: tuple[float, ...] = (-6.0, -3.0, 3.0, 6.0, 12.0)
    """The mask's edge moved by so much: inwards below 0, outwards above."""
    shifts_mm: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0)
    n_lesions: int = 200
    """At most so many lesions, drawn by a hash of their ids."""


@dataclass(frozen=True)
class StudySettings:
    """The reader study: which texts are rated, by whom."""

    readers: tuple[str, ...] = ("reader-1", "reader-2")
    """One sheet each; the order of cases and of the two texts is another for every reader."""
    model: str = ""
    """Model whose texts are rated; empty: PETAR's own."""
    split: str = "test"
    n_cases: int = 116
    n_external: int = 32
    """Cases of the external set, which have no report to compare with."""
    seed: int = 1


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything of the evaluation that a cohort may set."""

    scores: ScoreSettings = field(default_factory=ScoreSettings)
    predictions: Path | None = None
    """Folder of predictions as files, one model a file; None: `predictions` under PETAR_HOME."""
    vlm: tuple[VlmSettings, ...] = ()
    checkpoint: tuple[CheckpointSettings, ...] = ()
    ablation_effort: float = 1.0
    """Part of a stage's epochs that an arm of the ablation is trained for."""
    robustness: RobustnessSettings = field(default_factory=RobustnessSettings)
    external: Path | None = None
    """Folder of an external set in autoPET's layout; None: there is none."""
    external_min_ml: float = 0.2
    """Smaller components are named and left out."""
    study: StudySettings = field(default_factory=StudySettings)


def absolute(settings: T, base: Path) -> T:
    """The settings with every relative path in them taken to start at `base`."""
    if isinstance(settings, Path):
        return base / settings  # type: ignore[return-value]  # a path stays a path
    if isinstance(settings, tuple):
        return tuple(absolute(item, base) for item in settings)  # type: ignore[return-value]  # a tuple stays one
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        changed: dict[str, Any] = {
            f.name: absolute(getattr(settings, f.name), base) for f in dataclasses.fields(settings)
        }
        return dataclasses.replace(settings, **changed)
    return settings
