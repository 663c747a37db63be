"""The paper's ablation in miniature: what a model learns with and without mask, CT, focal crop and anatomy
pretraining.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from model.checkpoints import Checkpoint, Contract, LoadReport
from model.config import ModelConfig, TrainingSettings
from model.generation import generate
from model.petar import Petar
from model.tokenizer import PetarTokenizer
from model.training import train_stage
from pipelines.samples import compose, parse


@dataclass(frozen=True)
class Arm:
    """One row of the ablation: what the model is given."""

    name: str
    mask: bool = True
    ct: bool = True
    focal: bool = True
    anatomy: bool = True

    def applied_to(self, config: ModelConfig) -> ModelConfig:
        """The configuration with this arm's switches."""
        return replace(
            config, use_mask=self.mask, use_ct=self.ct, use_focal=self.focal, use_anatomy_pretraining=self.anatomy
        )


ARMS: tuple[Arm, ...] = (
    Arm("none", mask=False, ct=False, focal=False, anatomy=False),
    Arm("mask", ct=False, focal=False, anatomy=False),
    Arm("ct", mask=False, focal=False, anatomy=False),
    Arm("focal", mask=False, ct=False, anatomy=False),
    Arm("mask, ct", focal=False, anatomy=False),
    Arm("mask, focal", ct=False, anatomy=False),
    Arm("mask, ct, focal", anatomy=False),
    Arm("all"),
)
"""From nothing but the PET to everything; the paper prints the first, focal alone, all but pretraining, and all."""


@dataclass(frozen=True)
class ArmResult:
    """What an arm reached on held-out patients."""

    name: str
    accuracy: float
    """Share of lesions whose text has region and laterality right, both."""
    n: int
    curve: tuple[tuple[float, float], ...]
    """(minutes since the start, accuracy on the held-out lesions) after epochs of the last stage."""
    minutes: float
    checkpoint: Path


def fields_right(text: str | None, reference: str, fields: Sequence[str] = ("region", "laterality")) -> bool:
    """Whether a text names the same values as the reference in all fields; a field that neither has is right."""
    said, meant = parse(text or ""), parse(reference)
    return all(said.get(f, "").lower() == meant.get(f, "").lower() for f in fields)


def with_short_targets(findings: pl.DataFrame) -> pl.DataFrame:
    """The samples with targets of region, organ, sub-site and side alone; those without a region are left out."""
    known = findings.filter(pl.col("region").is_not_null())
    fields = ("region", "organ", "subsite", "laterality")
    texts = [compose(row) for row in known.select(fields).iter_rows(named=True)]
    return known.with_columns(pl.Series("target", texts, dtype=pl.String))


def run_arm(
    arm: Arm,
    findings: pl.DataFrame,
    anatomy: pl.DataFrame,
    config: ModelConfig,
    settings: TrainingSettings,
    home: Path,
    out_dir: Path,
    *,
    anatomy_settings: TrainingSettings | None = None,
    measure_epochs: int = 5,
    on_measure: Callable[[float, float], None] | None = None,
) -> ArmResult:
    """Trains an arm from nothing and measures it on the samples of the split `test`.

    Anatomy pretraining is one stage that trains everything (`anatomy_settings`; without them, or without the arm's
    switch, there is none), then the findings' full stage follows. Every `measure_epochs` epochs of that the held-out
    lesions are described and counted; the time that takes is not on the clock.
    """
    own = arm.applied_to(config)
    test = findings.filter(pl.col("split") == "test")
    if test.is_empty():
        raise ValueError("expected findings of held-out patients (split test), got none: take a larger cohort")
    clock = _Clock()
    init = None
    texts = findings.filter(pl.col("split") == "train")["target"].unique(maintain_order=True).to_list()
    if arm.anatomy and anatomy_settings is not None:
        train, val = (anatomy.filter(pl.col("split") == s) for s in ("train", "val"))
        init = train_stage(
            "anatomy_full", train, val, own, anatomy_settings, home, out_dir / "anatomy", texts=texts
        ).checkpoint
    curve: list[tuple[float, float]] = []

    def measure(model: Petar, tokenizer: PetarTokenizer, epoch: int) -> None:
        if epoch % measure_epochs and epoch != settings.epochs:
            return
        minutes = clock.minutes()
        clock.pause()
        as_is = Checkpoint(model, tokenizer, Contract(own), LoadReport((), (), ()), out_dir)
        curve.append((minutes, _accuracy(test, as_is, home)))
        clock.go_on()
        if on_measure is not None:
            on_measure(*curve[-1])

    train, val = (findings.filter(pl.col("split") == s) for s in ("train", "val"))
    result = train_stage("findings_full", train, val, own, settings, home, out_dir / "findings", init, on_epoch=measure)
    minutes = clock.minutes()
    accuracy = _accuracy(test, result.checkpoint, home)
    return ArmResult(arm.name, accuracy, len(test), tuple(curve), minutes, result.checkpoint)


def _accuracy(test: pl.DataFrame, checkpoint: Path | Checkpoint, home: Path) -> float:
    said = generate(test, checkpoint, home, batch_size=32, max_new_tokens=64)
    right = [fields_right(text, reference) for text, reference in said.select("text", "reference").iter_rows()]
    return sum(right) / len(right)


class _Clock:
    """Minutes since it was made, without its pauses."""

    def __init__(self) -> None:
        self._start, self._paused, self._since = time.monotonic(), 0.0, 0.0

    def minutes(self) -> float:
        return (time.monotonic() - self._start - self._paused) / 60

    def pause(self) -> None:
        self._since = time.monotonic()

    def go_on(self) -> None:
        self._paused += time.monotonic() - self._since
