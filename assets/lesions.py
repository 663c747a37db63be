"""Lesions: each accepted finding located, contoured, measured and saved as a mask."""

import dagster as dg

from assets.exams import ShardConfig, exams
from assets.faults import RETRY
from assets.partitions import (
    CURATION_OWNERS,
    SHARDS,
    changed,
    run_shard,
    settings_of_run,
    stage_metadata,
    table_metadata,
)
from assets.pictures import picture
from assets.reports import findings
from assets.resources import Workspace
from assets.run_config import with_settings
from pipelines.curation.run import stage_code
from pipelines.review.exam_picture import exam_picture
from pipelines.settings import LesionSettings


@with_settings(lesions=LesionSettings)
class LesionsConfig(ShardConfig):
    """Configuration of the lesions."""


@dg.asset(
    partitions_def=SHARDS,
    deps=[exams, findings],
    group_name="lesions",
    owners=CURATION_OWNERS,
    kinds={"parquet", "nifti"},
    code_version=stage_code("lesions"),
    automation_condition=changed(),
    retry_policy=RETRY,
    metadata=table_metadata("lesions"),
)
def lesions(context: dg.AssetExecutionContext, config: LesionsConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row an accepted finding: a lesion with its mask and measures, or why it is not in the image."""
    settings = settings_of_run(workspace, config)
    report = run_shard(context, workspace, "lesions", config.only_exams, settings)
    found = report.frame.filter(report.frame["outcome"] == "lesion")
    metadata = {**stage_metadata(report), "lesions": found.height, "not located": report.frame.height - found.height}
    if found.height and report.counts.recomputed:
        exam_id = found["exam_id"][0]
        metadata["picture"] = picture(
            exam_picture(workspace.paths, exam_id, found), f"MIP of exam {exam_id} with its lesions"
        )
    return dg.MaterializeResult(data_version=dg.DataVersion(report.version), metadata=metadata)
