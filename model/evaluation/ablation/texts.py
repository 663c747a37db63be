"""The ablation on the scoreboard: each condition trained on whole findings, its texts a part of `predictions`."""

import polars as pl

from model.evaluation.ablation.conditions import Condition, ConditionResult, ablation_folder
from model.evaluation.ablation.training import ConditionRequest, OnMeasure, ablation_settings, run_condition
from model.evaluation.predictions import TableReport
from model.evaluation.scores import ABLATION_PREFIX
from model.evaluation.text_sources import update_checkpoint_texts
from model.petar.config import model_config, overridden
from pipelines.settings import CheckpointSettings, ModelSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


def update_ablation(
    home: Home,
    condition: Condition,
    model: ModelSettings = ModelSettings(),
    effort: float = 1.0,
    on_measure: OnMeasure | None = None,
) -> tuple[ConditionResult, TableReport]:
    """A condition trained on the lake's findings, and its texts on every held-out lesion, as `ablation: <condition>`.

    Nothing is computed where nothing changed.

    Args:
        home: where samples, checkpoints and texts lie.
        condition: what the model is given.
        model: preset, and what is set in its place.
        effort: part of the preset's epochs, above 0; epochs that `model` sets are taken as they are.
        on_measure: called with each measurement.

    Raises:
        ValueError: no lesion is held out.
        TrainingError: as `train_stage`.
    """
    samples = Lake(home.lake).read_table("samples")
    findings, anatomy = (samples.filter(pl.col("kind") == kind) for kind in ("finding", "anatomy"))
    n_findings, n_anatomy = (t.filter(pl.col("split") == "train").height for t in (findings, anatomy))
    first, second = ablation_settings(model.preset, n_findings, n_anatomy, effort)
    first, second = overridden(first, model, "anatomy_full"), overridden(second, model, "findings_full")
    request = ConditionRequest(
        condition,
        findings,
        anatomy,
        home,
        model_config(model),
        second,
        ablation_folder(home) / condition.folder_name,
        anatomy_settings=first if n_anatomy else None,
        measure_epochs=max(1, second.epochs // 6),
    )
    result = run_condition(request, on_measure)
    chosen = CheckpointSettings(name=f"{ABLATION_PREFIX}{condition.name}", folder=result.checkpoint)
    return result, update_checkpoint_texts(home, f"ablation-{condition.folder_name}", chosen)
