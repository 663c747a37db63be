"""Training: label maps of organs, samples, and the six stages from one checkpoint to the next."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from assets.catalog import catalog
from assets.exams import exam_manifest, exams
from assets.faults import permanent
from assets.partitions import MODEL_OWNERS, changed, settings_of_run, table_metadata, table_sample
from assets.pictures import picture
from assets.resources import Workspace
from assets.run_config import with_settings
from model.evaluation.predictions import checkpoint_version
from model.inputs.sample_table import build_samples, found_label_maps
from model.petar.config import TRAINING_STAGES, TrainingStage, model_config
from model.training.figure import training_figure
from model.training.results import StageResult
from pipelines.catalog.versions import pin_current
from pipelines.cohort.manifest import read_whole_manifest
from pipelines.dataset.organ_maps import update_anatomy
from pipelines.dataset.totalsegmentator import TotalSegmentatorError
from pipelines.settings import ModelSettings
from pipelines.tables.lake import Lake

_LOG_EVERY_STEPS = 20
_PLOT_EVERY_S = 2.0
"""An event costs the UI's database about 15 ms: points closer than this would slow a tiny model down."""


@dg.asset(
    deps=[exam_manifest, exams],
    group_name="samples",
    owners=MODEL_OWNERS,
    kinds={"nifti"},
    automation_condition=changed(),
)
def anatomy(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Label maps of organs on the PET's grid (TotalSegmentator's classes): those in the exams' folders, else made by
    TotalSegmentator where the settings name its command.
    """
    home, settings = workspace.paths, workspace.settings()
    with permanent(TotalSegmentatorError):
        entries, exams_now = read_whole_manifest(home.manifest), Lake(home.lake).read_table("exams")
        report = update_anatomy(home, entries, exams_now, context.log, settings.anatomy, settings.exam)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "exams": len(report.paths),
            "recomputed": report.counts.recomputed,
            "reused": report.counts.reused,
            "failed": report.counts.failed,
            "problems": dg.MetadataValue.json(report.problems),
        },
    )


@dg.asset(
    deps=[catalog, anatomy],
    group_name="samples",
    owners=MODEL_OWNERS,
    kinds={"parquet"},
    automation_condition=changed(),
    metadata=table_metadata("samples"),
)
def samples(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """One row a question with its answer: lesions with their structured findings, organs with their names, split by
    patient.
    """
    home = workspace.paths
    with permanent():
        # What is trained on must stay to be seen, whatever the lake holds by then.
        version = pin_current(home)
        report = build_samples(home, found_label_maps(home), workspace.settings().samples)
    for exam_id, problem in report.problems.items():
        context.log.warning("exam %s: %s", exam_id, problem)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "dagster/row_count": report.frame.height,
            "version": version,
            "recomputed": report.recomputed,
            "reused": report.reused,
            "first rows": table_sample(report.frame),
            "splits": table_sample(report.frame.group_by("kind", "split").len().sort("kind", "split"), limit=20),
        },
    )


@with_settings(model=ModelSettings)
class StageConfig(dg.Config):
    """Configuration of a training stage."""

    retrain: bool = Field(default=False, description="Train again although nothing changed.")
    allow_other_samples: bool = Field(
        default=False, description="Go on from a checkpoint that was trained on other samples than these."
    )


def _stage_asset(stage: TrainingStage, previous: dg.AssetsDefinition) -> dg.AssetsDefinition:
    kind, _, part = stage.partition("_")
    what = {"projector": "the projector alone", "mask": "the mask embedding alone", "full": "everything"}[part]
    on = {"anatomy": "organs and their names", "findings": "lesions and their findings"}[kind]

    @dg.asset(
        name=stage,
        deps=[samples, previous] if previous is not samples else [samples],
        group_name="training",
        owners=MODEL_OWNERS,
        kinds={"torch"},
        pool="gpu",
        description=f"PETAR after training {what} on {on}. Goes on where a killed run stopped.",
    )
    def train(context: dg.AssetExecutionContext, config: StageConfig, workspace: Workspace) -> dg.MaterializeResult:
        # Not at module level: loading the definitions must not cost the import of torch.
        from model.petar.checkpoints import CheckpointError
        from model.training.from_lake import (
            LakeStage,
            checkpoint_before,
            reason_to_leave_out,
            stage_settings,
            train_from_lake,
        )
        from model.training.progress import StageProgress
        from model.training.request import Hooks
        from model.training.stages import TrainingError

        home, model = workspace.paths, settings_of_run(workspace, config).model
        with permanent(TrainingError):
            reason = reason_to_leave_out(home, stage, model_config(model))
            before = checkpoint_before(home, stage, model_config(model))
        if reason is not None:
            context.log.warning("%s is left out: %s", stage, reason)
            return dg.MaterializeResult(
                data_version=dg.DataVersion("left out"),
                metadata={"recomputed": 0, "reused": 0, "left out": reason},
            )
        asked = LakeStage(
            stage,
            model_config(model),
            stage_settings(stage, model),
            before,
            config.allow_other_samples,
            reuse=not config.retrain,
        )
        last_plotted = 0.0

        def log_step(progress: StageProgress, entry: Mapping[str, float]) -> None:
            nonlocal last_plotted
            progress.step(entry)
            if entry["step"] % _LOG_EVERY_STEPS == 1:
                context.log.info("%s step %d: loss %.4f", stage, entry["step"], entry["loss"])
            if time.monotonic() - last_plotted >= _PLOT_EVERY_S:
                last_plotted = time.monotonic()
                # Observations are what the UI plots while the stage still trains.
                context.log_event(dg.AssetObservation(context.asset_key, metadata=_plotted(entry)))

        with permanent(TrainingError, CheckpointError), StageProgress(stage) as progress:
            result = train_from_lake(home, asked, Hooks(partial(log_step, progress), progress.begin), context.log)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(checkpoint_version(result.checkpoint)),
            metadata=_stage_metadata(stage, result, home.checkpoints / stage / "log.jsonl"),
        )

    return train


def _stage_metadata(stage: TrainingStage, result: StageResult, log: Path) -> dict[str, Any]:
    """What the UI shows of a stage: counts, losses, and the curve of the training where one was done."""
    numbers = {
        "samples": result.n_samples,
        "steps": result.steps,
        "seconds": result.seconds,
        "trainable parameters": result.trainable_parameters,
        "parameters": result.total_parameters,
        "loss at start": result.loss_first,
        "loss at end": result.loss_last,
        "validation loss": result.val_loss,
        "epoch kept": result.best_epoch,
        "fields right in validation": result.best_fields,
    }
    metadata: dict[str, Any] = {
        "recomputed": int(not result.reused),
        "reused": int(result.reused),
        "checkpoint": dg.MetadataValue.path(str(result.checkpoint)),
        **{name: number for name, number in numbers.items() if number is not None},
    }
    if result.curve:
        metadata |= _plotted(result.curve[-1])
        metadata["log"] = dg.MetadataValue.path(str(log))
        metadata["training"] = picture(training_figure(result.curve), f"Training of {stage}")
    return metadata


_PLOTTED = ("loss", "learning_rate", "grad_norm", "samples_per_s", "gpu_memory_gb", "val_loss", "val_fields")


def _plotted(entry: Mapping[str, float]) -> dict[str, Any]:
    """The numbers of a step that the UI draws over time."""
    return {name.replace("_", " "): float(entry[name]) for name in _PLOTTED if name in entry}


def _stage_assets() -> list[dg.AssetsDefinition]:
    found: list[dg.AssetsDefinition] = []
    for stage in TRAINING_STAGES:
        found.append(_stage_asset(stage, found[-1] if found else samples))
    return found


STAGE_ASSETS = _stage_assets()

train = dg.define_asset_job(
    "train",
    selection=dg.AssetSelection.assets(anatomy, samples, *STAGE_ASSETS),
    description="Label maps, samples and the six stages; a stage whose data and settings are unchanged is kept.",
)

JOBS = [train]
