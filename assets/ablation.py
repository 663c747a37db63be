"""The paper's ablation: one partition a condition, each trained and scored beside the other models."""

import dagster as dg

from assets.faults import permanent
from assets.partitions import evaluated, settings_of_run, table_sample
from assets.pictures import picture
from assets.resources import Workspace
from assets.run_config import run_fields, with_settings
from assets.training import samples
from model.evaluation.ablation.conditions import CONDITIONS, Point, ablation_table, condition_of_folder, read_ablation
from model.evaluation.ablation.figure import ablation_figure
from pipelines.settings import EvaluationSettings, ModelSettings

ABLATION_PARTITIONS = dg.StaticPartitionsDefinition([condition.folder_name for condition in CONDITIONS])


@with_settings(model=ModelSettings, evaluation=run_fields(EvaluationSettings, "ablation_effort"))
class AblationConfig(dg.Config):
    """How the conditions are trained."""


@evaluated("predictions", [samples], {"torch"}, pool="gpu", partitions=ABLATION_PARTITIONS)
def ablation(context: dg.AssetExecutionContext, config: AblationConfig, workspace: Workspace) -> dg.MaterializeResult:
    """Accuracy with and without mask, CT, focal crop and anatomy pretraining: the eight rows of the paper."""
    # Not at module level: loading the definitions must not cost the import of torch.
    from model.evaluation.ablation.texts import update_ablation
    from model.training.stages import TrainingError

    home, settings = workspace.paths, settings_of_run(workspace, config)
    condition = condition_of_folder(context.partition_key)

    def log(point: Point) -> None:
        context.log.info("%s, %.1f min: region and side right %.0f %%", condition.name, point.minutes, 100 * point.both)

    with permanent(ValueError, TrainingError):
        result, report = update_ablation(
            home,
            condition,
            settings.model,
            settings.evaluation.ablation_effort * settings.model.effort,
            log,
        )
    conditions = read_ablation(home)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "dagster/partition_row_count": report.frame.height,
            "recomputed": int(not result.reused),
            "reused": int(result.reused),
            "region and side right": result.accuracy,
            "minutes": result.minutes,
            "conditions": dg.MetadataValue.md(ablation_table(conditions)),
            "curve": picture(ablation_figure(conditions), "Accuracy on held-out lesions against minutes of training"),
            "texts": table_sample(report.frame.select("finding_id", "model", "reference", "text_measured"), limit=10),
            "checkpoint": dg.MetadataValue.path(str(result.checkpoint)),
        },
    )


ablate = dg.define_asset_job(
    "ablate",
    selection=[ablation],
    description="One condition of the ablation: trains it and describes the held-out lesions.",
)

JOBS = [ablate]
