"""Texts on held-out lesions, one asset a source: PETAR, baselines, files, vision-language models, checkpoints."""

import dagster as dg
from pydantic import Field

from assets.ablation import ablation
from assets.faults import permanent
from assets.partitions import evaluated, table_sample, update_metadata
from assets.resources import Workspace
from assets.training import STAGE_ASSETS, samples
from model.evaluation.predictions import TableReport, collect_predictions
from model.evaluation.text_sources import (
    no_texts,
    update_baseline_texts,
    update_checkpoint_texts,
    update_file_texts,
    update_other_checkpoints,
    update_vlm_texts,
)
from model.petar.config import TRAINING_STAGES
from pipelines.settings import CheckpointSettings


def _result(context: dg.AssetExecutionContext, report: TableReport) -> dg.MaterializeResult:
    for problem in report.problems:
        context.log.warning("%s", problem)
    shown = report.frame.select("finding_id", "model", "reference", "text_measured", "error")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            **update_metadata(report),
            "without text": report.frame["text"].null_count(),
            "problems": dg.MetadataValue.json(list(report.problems)),
            "texts": table_sample(shown, limit=20),
        },
    )


class PetarTextsConfig(dg.Config):
    """Configuration of the texts of the model that is trained here."""

    allow_other_samples: bool = Field(
        default=False,
        description="Describe these lesions with a checkpoint that was trained on other samples; some of them it may "
        "have seen.",
    )


@evaluated("predictions", [samples, STAGE_ASSETS[-1]], {"torch", "parquet"}, pool="gpu")
def petar_texts(
    context: dg.AssetExecutionContext, config: PetarTextsConfig, workspace: Workspace
) -> dg.MaterializeResult:
    """The model's text for every held-out lesion and for every one that nobody described, as generated and with the
    numbers measured on the mask.
    """
    home, settings = workspace.paths, workspace.settings()
    folder = home.checkpoint(TRAINING_STAGES[-1])
    if workspace.evaluation().checkpoint and not folder.is_dir():
        why = "no model was trained here; the checkpoints of [[evaluation.checkpoint]] give the texts"
        return _result(context, no_texts(home, "petar", why))
    trained = CheckpointSettings(name=f"petar-{settings.model.preset}", folder=folder)
    with permanent(ValueError, FileNotFoundError):
        report = update_checkpoint_texts(
            home, "petar", trained, allow_other_samples=config.allow_other_samples, untexted=settings.samples
        )
        return _result(context, report)


@evaluated("predictions", [samples], {"parquet"})
def baseline_texts(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Texts of two baselines that need no weights: the nearest training lesion, and a template."""
    with permanent(ValueError):
        return _result(context, update_baseline_texts(workspace.paths))


@evaluated("predictions", [samples], {"csv", "parquet"})
def file_texts(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Texts of any other model, from the files in PETAR_HOME/predictions; unknown, duplicate and missing lesions
    are reported.
    """
    folder = workspace.evaluation().predictions or workspace.paths.predictions
    return _result(context, update_file_texts(workspace.paths, folder))


@evaluated("predictions", [samples], {"openai", "parquet"}, pool="llm")
def vlm_texts(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Texts of the vision-language models that `[[evaluation.vlm]]` names, given three slices of each lesion."""
    report = update_vlm_texts(workspace.paths, workspace.evaluation().vlm, workspace.api_keys())
    return _result(context, report)


@evaluated("predictions", [samples], {"torch", "parquet"}, pool="gpu")
def checkpoint_texts(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Texts of the further checkpoints that `[[evaluation.checkpoint]]` names, M3D-RAD by way of `model/` among
    them.
    """
    chosen, untexted = workspace.evaluation().checkpoint, workspace.settings().samples
    return _result(context, update_other_checkpoints(workspace.paths, chosen, untexted))


SOURCES = [petar_texts, baseline_texts, file_texts, vlm_texts, checkpoint_texts]


@evaluated("predictions", [*SOURCES, ablation], {"parquet"})
def predictions(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """The texts of all sources as one table; those made from other samples than the present ones are left out and
    named.
    """
    return _result(context, collect_predictions(workspace.paths))
