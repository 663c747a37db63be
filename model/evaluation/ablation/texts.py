"""The ablation on the scoreboard: each condition trained on whole findings, its texts a part of `predictions`."""

import polars as pl

from model.evaluation.ablation.conditions import Condition, ConditionResult, ablation_folder
from model.evaluation.ablation.training import ConditionRequest, OnMeasure, ablation_settings, run_condition
from model.evaluation.predictions import TableReport
from model.evaluation.scores import ABLATION_PREFIX
from model.evaluation.text_sources import update_checkpoint_texts
from model.petar.config import preset
from pipelines.settings import CheckpointSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


def update_ablation(
    home: Home,
    condition: Condition,
    preset_name: str = "tiny",
    effort: float = 1.0,
    on_measure: OnMeasure | None = None,
) -> tuple[ConditionResult, TableReport]:
    """A condition trained on the lake's findings, and its texts on every held-out lesion, as `ablation: <condition>`.

    Nothing is computed where nothing changed.

    Args:
        home: where samples, checkpoints and texts lie.
        condition: what the model is given.
        preset_name: `tiny`, `small` or `petar-4b`.
        effort: part of the preset's epochs, above 0.
        on_measure: called with each measurement.

    Raises:
        ValueError: no lesion is held out.
        TrainingError: as `train_stage`.
    """
    samples = Lake(home.lake).read_table("samples")
    findings, anatomy = (samples.filter(pl.col("kind") == kind) for kind in ("finding", "anatomy"))
    n_findings, n_anatomy = (t.filter(pl.col("split") == "train").height for t in (findings, anatomy))
    first, second = ablation_settings(preset_name, n_findings, n_anatomy, effort)
    request = ConditionRequest(
        condition,
        findings,
        anatomy,
        home,
        preset(preset_name),
        second,
        ablation_folder(home) / condition.folder_name,
        anatomy_settings=first if n_anatomy else None,
        measure_epochs=max(1, second.epochs // 6),
    )
    result = run_condition(request, on_measure)
    chosen = CheckpointSettings(name=f"{ABLATION_PREFIX}{condition.name}", folder=result.checkpoint)
    return result, update_checkpoint_texts(home, f"ablation-{condition.folder_name}", chosen)
