"""Trains a stage on the samples of a home's lake: what the training assets and the command line share."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from model.petar.config import (
    TRAINING_STAGES,
    ModelConfig,
    TrainingSettings,
    TrainingStage,
    overridden,
    training_settings,
)
from model.training.provenance import check_provenance, sample_kind
from model.training.request import Hooks, StageRequest, StageSamples
from model.training.results import StageResult
from model.training.stages import TrainingError
from model.training.train import train_stage
from pipelines.settings import ModelSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LakeStage:
    """A stage to train on the samples of a lake; its checkpoint is `checkpoints/<stage>/checkpoint`."""

    stage: TrainingStage
    config: ModelConfig
    settings: TrainingSettings
    init: Path | None = None
    """Checkpoint folder to start from; None: the settings' weights, or random ones."""
    allow_other_samples: bool = False
    """Whether to start from a checkpoint that was trained on other samples than these."""
    reuse: bool = True
    """Whether a finished checkpoint of an equal request is returned as it is."""
    device: str = "auto"


def stage_settings(stage: TrainingStage, model: ModelSettings) -> TrainingSettings:
    """The preset's settings for a stage, shortened by `effort`, with what the tables of training set in their place."""
    full = training_settings(model.preset, stage)
    shorter = replace(
        full,
        epochs=max(1, round(full.epochs * model.effort)),
        language_steps=round(full.language_steps * model.effort),
    )
    return overridden(shorter, model, stage)


def checkpoint_before(home: Home, stage: TrainingStage) -> Path | None:
    """Where the checkpoint of the stage before lies; None for the first stage."""
    position = TRAINING_STAGES.index(stage)
    return home.checkpoints / TRAINING_STAGES[position - 1] / "checkpoint" if position else None


def train_from_lake(
    home: Home,
    asked: LakeStage,
    hooks: Hooks = Hooks(),
    logger: logging.Logger = log,
) -> StageResult:
    """Trains a stage on the lake's samples and returns what it reached.

    Raises:
        ProvenanceError: `init` was trained on other samples, and that is not allowed.
        TrainingError, CheckpointError: as `train_stage`; also where the lake holds no samples.
    """
    lake = Lake(home.lake)
    if not lake.has_shard("samples"):
        raise TrainingError(f"expected samples at {lake.path('samples')}, there are none: curate the cohort first")
    table = lake.read_table("samples")
    texts: tuple[str, ...] = ()
    if asked.init is not None:
        for misfit in check_provenance(asked.init, table, home, allow=asked.allow_other_samples):
            logger.warning("goes on from other samples, as allowed: %s", misfit)
    else:
        # Held-out texts stay out of the tokenizer and of the language model.
        seen = table.filter(pl.col("split") == "train")
        texts = tuple(sorted({*seen["question"], *seen["target"]}))
    own = table.filter(pl.col("kind") == sample_kind(asked.stage))
    curation = (lake.shard_inputs("samples") or {}).get("curation", "")
    request = StageRequest(
        asked.stage,
        StageSamples.of(own, home, texts=texts, curation=curation),
        asked.config,
        asked.settings,
        home.checkpoints / asked.stage,
        asked.init,
        reuse=asked.reuse,
        device=asked.device,
    )
    return train_stage(request, hooks)
