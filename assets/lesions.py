"""Lesions: each accepted finding located, contoured, measured and saved as a mask."""

import dagster as dg

from assets.exams import ShardConfig, exams
from assets.partitions import CURATION_OWNERS, SHARDS, changed, column_schema, stage_metadata
from assets.pictures import picture
from assets.reports import findings
from assets.resources import Workspace
from pipelines.curation import run_stage
from pipelines.imaging import lesions as lesions_module
from pipelines.quality.pictures import exam_picture
from pipelines.settings import SettingsError, merge, parse


class LesionsConfig(ShardConfig):
    """Configuration of the lesions."""

    lesions: str = ""
    """TOML lines that replace parameters for this run, e.g. `contour.method = "published"`; empty: as the settings
    say.
    """


@dg.asset(
    partitions_def=SHARDS,
    deps=[exams, findings],
    group_name="lesions",
    owners=CURATION_OWNERS,
    kinds={"parquet", "nifti"},
    code_version=lesions_module.LOGIC_VERSION,
    automation_condition=changed(),
    metadata={"dagster/column_schema": column_schema("localisations")},
)
def lesions(context: dg.AssetExecutionContext, config: LesionsConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row an accepted finding: a lesion with its mask and measures, or why it is not in the image (table
    `localisations`).
    """
    settings = workspace.settings()
    if config.lesions:
        try:
            settings = merge(settings, {"lesions": parse(config.lesions, "config.lesions")}, "config")
        except SettingsError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
    report = run_stage(
        workspace.paths,
        "localisations",
        int(context.partition_key),
        settings.curation,
        workspace.readers(),
        only=config.only_exams,
        log=context.log,
    )
    found = report.frame.filter(report.frame["outcome"] == "lesion")
    metadata = {**stage_metadata(report), "lesions": found.height, "not located": report.frame.height - found.height}
    if found.height and report.counts.recomputed:
        exam_id = found["exam_id"][0]
        metadata["picture"] = picture(
            exam_picture(workspace.paths, exam_id, found), f"MIP of exam {exam_id} with its lesions"
        )
    return dg.MaterializeResult(data_version=dg.DataVersion(report.version), metadata=metadata)
