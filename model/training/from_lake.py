"""Trains a stage on the samples of a home's lake: what the training assets and the command line share."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from model.petar.checkpoints import read_contract
from model.petar.config import (
    TRAINING_STAGES,
    ModelConfig,
    TrainingSettings,
    TrainingStage,
    overridden,
    training_settings,
)
from model.training.provenance import check_provenance, sample_kinds
from model.training.request import Hooks, StageRequest, StageSamples
from model.training.results import StageResult, read_result
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
    made_by: Literal["asset", "command line"] = "asset"
    """Who asks. An asset adopts what the command line made, and never overwrites it."""


def stage_settings(stage: TrainingStage, model: ModelSettings) -> TrainingSettings:
    """The preset's settings for a stage, shortened by `effort`, with what the tables of training set in their place."""
    full = training_settings(model.preset, stage)
    shorter = replace(
        full,
        epochs=max(1, round(full.epochs * model.effort)),
        language_steps=round(full.language_steps * model.effort),
    )
    return overridden(shorter, model, stage)


def reason_to_leave_out(home: Home, stage: TrainingStage, config: ModelConfig) -> str | None:
    """Why a stage is not trained: it is of anatomy, which the settings switch off or for which there are no samples.
    None: it is trained.

    Raises:
        TrainingError: the lake holds no samples.
    """
    if sample_kinds(stage) != sample_kinds(TRAINING_STAGES[0]):
        return None
    if not config.use_anatomy_pretraining:
        return "use_anatomy_pretraining is false"
    samples = _samples(home)
    if samples.filter(pl.col("kind").is_in(sample_kinds(stage)), pl.col("split") == "train").is_empty():
        return (
            "no exam of the split train has a label map of organs: lay them beside the images or set [anatomy] command "
            "to train on organs first"
        )
    return None


def checkpoint_before(home: Home, stage: TrainingStage, config: ModelConfig) -> Path | None:
    """Where the checkpoint of the stage before lies that is not left out; None for the first one.

    Raises:
        TrainingError: the lake holds no samples.
    """
    earlier = reversed(TRAINING_STAGES[: TRAINING_STAGES.index(stage)])
    return next((home.checkpoint(s) for s in earlier if reason_to_leave_out(home, s, config) is None), None)


def _samples(home: Home) -> pl.DataFrame:
    lake = Lake(home.lake)
    if not lake.has_shard("samples"):
        raise TrainingError(f"expected samples at {lake.path('samples')}, there are none: curate the cohort first")
    return lake.read_table("samples")


def train_from_lake(
    home: Home,
    asked: LakeStage,
    hooks: Hooks = Hooks(),
    logger: logging.Logger = log,
) -> StageResult:
    """Trains a stage on the lake's samples and returns what it reached.

    Raises:
        ProvenanceError: `init`, or a checkpoint to adopt, was trained on other samples, and that is not allowed.
        TrainingError, CheckpointError: as `train_stage`; also where the lake holds no samples.
    """
    table = _samples(home)
    texts: tuple[str, ...] = ()
    if asked.init is not None:
        for misfit in check_provenance(asked.init, table, home, allow=asked.allow_other_samples):
            logger.warning("goes on from other samples, as allowed: %s", misfit)
    else:
        # Held-out texts stay out of the tokenizer and of the language model.
        seen = table.filter(pl.col("split") == "train")
        texts = tuple(sorted({*seen["question"], *seen["target"]}))
    if (adopted := _adopted(home, asked, table, logger)) is not None:
        return adopted
    own = table.filter(pl.col("kind").is_in(sample_kinds(asked.stage)))
    curation = (Lake(home.lake).shard_inputs("samples") or {}).get("curation", "")
    request = StageRequest(
        asked.stage,
        StageSamples.of(own, home, texts=texts, curation=curation),
        asked.config,
        asked.settings,
        home.checkpoints / asked.stage,
        asked.init,
        reuse=asked.reuse,
        device=asked.device,
        made_by=asked.made_by,
    )
    result = train_stage(request, hooks)
    if not result.reused:
        home.keep(request.out_dir)
    return result


def _adopted(home: Home, asked: LakeStage, samples: pl.DataFrame, logger: logging.Logger) -> StageResult | None:
    """The result of a stage that the command line trained and that an asset asks for; None where there is none.

    Raises:
        TrainingError: it is of another model, or the stage is to be trained again in its place.
        ProvenanceError: it was trained on other samples, and that is not allowed.
    """
    found = read_result(home.folder(home.checkpoints / asked.stage))
    if asked.made_by != "asset" or found is None or found.made_by == "asset":
        return None
    folder = found.checkpoint.parent
    if not asked.reuse:
        raise TrainingError(
            f"expected no checkpoint of the command line to be overwritten, got one in {folder}: move that folder away "
            "to train the stage again"
        )
    config = read_contract(found.checkpoint).config
    # The layout of the inputs is that of the weights, whatever is asked for.
    if replace(config, layout=asked.config.layout) != asked.config:
        raise TrainingError(
            f"expected a checkpoint of the model that [model] describes ({asked.config.name}), got one of "
            f"{config.name} that the command line made with other settings, in {folder}: set [model] as its "
            "settings.json says, or move that folder away"
        )
    for misfit in check_provenance(found.checkpoint, samples, home, allow=asked.allow_other_samples):
        logger.warning("adopted though trained on other samples, as allowed: %s", misfit)
    logger.info("%s: adopted the checkpoint that the command line made, %s", asked.stage, folder)
    return found
