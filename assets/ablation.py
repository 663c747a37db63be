"""The ablation of the paper: one partition an arm, each trained with its own inputs and scored like other models."""

import dagster as dg

from assets.faults import permanent
from assets.partitions import MODEL_OWNERS, table_metadata, table_sample
from assets.pictures import picture
from assets.resources import Workspace
from assets.training import samples
from model.evaluation.ablation_arms import ARMS, Point, arms_table, read_arms
from model.evaluation.figures import ablation_figure

ARM_PARTITIONS = dg.StaticPartitionsDefinition([arm.folder_name for arm in ARMS])
CORNERS = (ARMS[0].folder_name, ARMS[-1].folder_name)
"""Nothing but the PET, and everything: what the demo trains."""


class AblationConfig(dg.Config):
    """How long the arms are trained."""

    preset: str = ""
    """Empty: as the settings say (`model.preset`)."""
    effort: float = 0.0
    """Part of the preset's epochs; 0: as the settings say (`evaluation.ablation_effort`)."""


@dg.asset(
    partitions_def=ARM_PARTITIONS,
    deps=[samples],
    group_name="evaluation",
    owners=MODEL_OWNERS,
    kinds={"torch"},
    pool="gpu",
    metadata=table_metadata("predictions"),
)
def ablation(context: dg.AssetExecutionContext, config: AblationConfig, workspace: Workspace) -> dg.MaterializeResult:
    """Accuracy with and without mask, CT, focal crop and anatomy pretraining: the eight rows of the paper."""
    # Not at module level: loading the definitions must not cost the import of torch.
    from model.evaluation.ablation_texts import arm_of_folder, update_ablation
    from model.training.stages import TrainingError

    home, settings = workspace.paths, workspace.settings()
    name = arm_of_folder(context.partition_key)

    def log(point: Point) -> None:
        context.log.info("%s, %.1f min: region and side right %.0f %%", name, point.minutes, 100 * point.both)

    with permanent(ValueError, TrainingError):
        result, report = update_ablation(
            home,
            name,
            config.preset or settings.model.preset,
            config.effort or settings.evaluation.ablation_effort * settings.model.effort,
            log,
        )
    arms = read_arms(home)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "dagster/partition_row_count": report.frame.height,
            "recomputed": int(not result.reused),
            "reused": int(result.reused),
            "region and side right": result.accuracy,
            "minutes": result.minutes,
            "arms": dg.MetadataValue.md(arms_table(arms)),
            "curve": picture(ablation_figure(arms), "Accuracy on held-out lesions against minutes of training"),
            "texts": table_sample(report.frame.select("finding_id", "model", "reference", "text_measured"), limit=10),
            "checkpoint": dg.MetadataValue.path(str(result.checkpoint)),
        },
    )


ablate = dg.define_asset_job(
    "ablate",
    selection=[ablation],
    description="One arm of the ablation: trains it and describes the held-out lesions.",
    executor_def=dg.in_process_executor,
)

JOBS = [ablate]
