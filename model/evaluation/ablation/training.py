"""Trains a condition of the ablation and measures it on held-out lesions while it learns."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import polars as pl

from model.evaluation.ablation.conditions import (
    Condition,
    ConditionResult,
    Point,
    fields_right,
    read_condition,
    write_condition,
)
from model.petar.architecture import Petar
from model.petar.checkpoints import Checkpoint, Contract, LoadReport
from model.petar.config import ModelConfig, TrainingSettings, training_settings
from model.petar.tokenizer import PetarTokenizer
from model.serving.generation import Decoding, generate
from model.training.request import Hooks, StageRequest, StageSamples
from model.training.samples import data_hash
from model.training.train import train_stage
from pipelines.dataset.samples import compose
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.provenance import code_version

_FIELDS = ("region", "organ", "subsite", "laterality")
_PROGRESS = "curve.json"

OnMeasure = Callable[[Point], None]


def with_short_targets(findings: pl.DataFrame) -> pl.DataFrame:
    """The samples with targets of region, organ, sub-site and side alone; those without a region are left out."""
    known = findings.filter(pl.col("region").is_not_null())
    texts = [compose(row) for row in known.select(_FIELDS).iter_rows(named=True)]
    return known.with_columns(pl.Series("target", texts, dtype=pl.String))


def balanced(findings: pl.DataFrame, most_per_group: float = 1.5) -> pl.DataFrame:
    """The samples with no region and side much more frequent than others, in every split.

    A group of equal region and laterality keeps at most `most_per_group` times the split's mean group, chosen by a hash
    of the sample id. Else a model that sees nothing scores by saying what is most frequent.
    """
    group = ["split", "region", "laterality"]
    sizes = findings.group_by(group).len().group_by("split").agg(pl.col("len").mean().alias("_mean"))
    order = pl.col("sample_id").map_elements(lambda sample_id: hash_of(sample_id), return_dtype=pl.String)
    ranked = findings.join(sizes, on="split").with_columns(order.rank("ordinal").over(group).alias("_rank"))
    kept = ranked.filter(pl.col("_rank") <= (pl.col("_mean") * most_per_group).ceil())
    return kept.select(findings.columns).sort("sample_id")


_TINY_EPOCH = 1600
_TINY_ANATOMY_SAMPLES = 41_600
_TINY_FINDINGS_SAMPLES, _TINY_EPOCHS = 11_520, 11
"""What `tiny` needs to learn region and side within minutes: samples of organs in an epoch and in all; of lesions
samples in all, and at least so many epochs. Source: docs/model.md, the ablation on 1,600 phantom patients.
"""


def ablation_settings(
    preset_name: str, n_findings: int, n_anatomy: int, effort: float = 1.0
) -> tuple[TrainingSettings, TrainingSettings]:
    """(anatomy, findings) settings of a condition's two stages for so many training samples.

    The preset's own, but that `tiny` sees as many samples of a small cohort as of a large one. `effort` is the part of
    that to train.
    """
    found = []
    for stage, n in (("anatomy_full", n_anatomy), ("findings_full", n_findings)):
        # Conditions are compared at equal epochs.
        settings = training_settings(preset_name, stage, select_by="last")  # type: ignore[arg-type]  # both are stages
        epochs: float = settings.epochs
        if preset_name == "tiny" and stage == "anatomy_full":
            epochs = _TINY_ANATOMY_SAMPLES / max(1, min(n, _TINY_EPOCH))
            settings = replace(settings, samples_per_epoch=_TINY_EPOCH)
        elif preset_name == "tiny":
            epochs = max(_TINY_EPOCHS, _TINY_FINDINGS_SAMPLES / max(1, n))
            settings = replace(settings, samples_per_epoch=0)
        found.append(replace(settings, epochs=max(1, round(epochs * effort))))
    return found[0], found[1]


@dataclass(frozen=True)
class ConditionRequest:
    """A condition to train from nothing on some samples, and to measure on their split `test`.

    Anatomy pretraining is one stage that trains everything; without `anatomy_settings`, or without the condition's
    switch, there is none. Then the findings' full stage follows.
    """

    condition: Condition
    findings: pl.DataFrame
    anatomy: pl.DataFrame
    home: Home
    config: ModelConfig
    """The preset; the condition's switches are applied to it."""
    settings: TrainingSettings
    out_dir: Path
    anatomy_settings: TrainingSettings | None = None
    measure_epochs: int = 5
    """The held-out lesions are described after every so many epochs, and after the last one."""

    @property
    def pretraining(self) -> TrainingSettings | None:
        """Settings of the anatomy stage; None where there is none."""
        return self.anatomy_settings if self.condition.anatomy else None

    @property
    def model_config(self) -> ModelConfig:
        """The configuration with the condition's switches."""
        return self.condition.applied_to(self.config)

    def split(self, name: str) -> pl.DataFrame:
        """The findings of a split."""
        return self.findings.filter(pl.col("split") == name)

    def identity(self) -> str:
        """Hash of all that decides the result."""
        pretraining = self.pretraining
        return hash_of(
            code_version(__name__),
            asdict(self.condition),
            self.model_config.to_dict(),
            self.settings.to_dict(),
            pretraining.to_dict() if pretraining else None,
            data_hash(self.findings, self.home),
            data_hash(self.anatomy, self.home) if pretraining else None,
            self.measure_epochs,
        )


@dataclass
class _Curve:
    """The measurements of a condition, kept on disk as they come."""

    request: ConditionRequest
    identity: str
    on_measure: OnMeasure | None
    before_s: float
    """Seconds of anatomy pretraining."""
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    """Of the findings' stage, so far."""

    def __post_init__(self) -> None:
        path = self.request.out_dir / _PROGRESS
        stored = json.loads(path.read_text()) if path.is_file() else {}
        if stored.get("identity") == self.identity:
            self.points = [Point(**point) for point in stored["curve"]]

    def on_step(self, entry: Mapping[str, float]) -> None:
        self.seconds = entry["seconds"]

    def on_epoch(self, model: Petar, tokenizer: PetarTokenizer, epoch: int) -> None:
        if epoch % self.request.measure_epochs and epoch != self.request.settings.epochs:
            return
        contract = Contract(self.request.model_config)
        self.measure(Checkpoint(model, tokenizer, contract, LoadReport((), (), ()), self.request.out_dir), epoch)

    def measure(self, checkpoint: Path | Checkpoint, epoch: int) -> None:
        minutes = (self.before_s + self.seconds) / 60
        point = measured(self.request.split("test"), checkpoint, self.request.home, epoch, minutes)
        self.points = [p for p in self.points if p.epoch < point.epoch] + [point]
        stored = {"identity": self.identity, "curve": [asdict(p) for p in self.points]}
        atomic.write_bytes(self.request.out_dir / _PROGRESS, json.dumps(stored).encode())
        if self.on_measure is not None:
            self.on_measure(point)


def run_condition(request: ConditionRequest, on_measure: OnMeasure | None = None) -> ConditionResult:
    """Trains a condition and returns its accuracy on held-out lesions over the time of training.

    The time that measuring takes is not counted. A killed run resumes where it was; the result of an equal request that
    ended is returned as it is.

    Raises:
        ValueError: no lesion is held out.
        TrainingError: as `train_stage`.
    """
    train, test = request.split("train"), request.split("test")
    if test.is_empty():
        raise ValueError("expected findings of held-out patients (split test), got none: take a larger cohort")
    identity = request.identity()
    if known := read_condition(request.out_dir, identity):
        return known
    init, before_s = None, 0.0
    if request.pretraining is not None:
        texts = tuple(train["target"].unique(maintain_order=True))
        organs = StageSamples.of(request.anatomy, request.home, texts=texts)
        folder = request.out_dir / "anatomy"
        first = train_stage(StageRequest("anatomy_full", organs, request.model_config, request.pretraining, folder))
        init, before_s = first.checkpoint, first.seconds
    curve = _Curve(request, identity, on_measure, before_s)
    lesions = StageSamples.of(request.findings, request.home)
    folder = request.out_dir / "findings"
    stage = StageRequest("findings_full", lesions, request.model_config, request.settings, folder, init)
    trained = train_stage(stage, Hooks(curve.on_step, on_epoch=curve.on_epoch))
    last = int(trained.curve[-1]["epoch"])
    if not curve.points or curve.points[-1].epoch < last:
        # Stopped early, or killed between the last step and its measurement.
        curve.seconds = trained.seconds
        curve.measure(trained.checkpoint, last)
    chance = _chance(train, test)
    result = ConditionResult(request.condition.name, len(test), chance, tuple(curve.points), trained.checkpoint)
    write_condition(request.out_dir, result, identity)
    return result


def measured(test: pl.DataFrame, checkpoint: Path | Checkpoint, home: Home, epoch: int, minutes: float) -> Point:
    """Accuracy of a model's texts on some lesions.

    Args:
        test: rows of `samples`.
        checkpoint: the model.
        home: the paths in the rows are relative to its root.
        epoch: epochs of training so far.
        minutes: minutes of training so far.
    """
    texts = generate(test, checkpoint, home, Decoding(batch_size=32, max_new_tokens=64))
    pairs = texts.select("text", "reference").rows()

    def share(*fields: str) -> float:
        return sum(fields_right(text, reference, fields) for text, reference in pairs) / len(pairs)

    return Point(epoch, minutes, share("region", "laterality"), share("region"), share("laterality"))


def _chance(train: pl.DataFrame, test: pl.DataFrame) -> float:
    answers = train.select("region", "laterality").rows()
    most = Counter(answers).most_common(1)[0][0] if answers else None
    return sum(row == most for row in test.select("region", "laterality").iter_rows()) / len(test)
