"""Lesions: each accepted finding located, contoured, measured and saved as a mask."""

from typing import Any

import dagster as dg

from assets.exams import ShardConfig, exams
from assets.partitions import run_shard, settings_of_run, sharded, stage_result
from assets.pictures import picture
from assets.reports import findings
from assets.resources import Workspace
from assets.run_config import with_settings
from pipelines.review.exam_picture import exam_picture
from pipelines.settings import LesionSettings


@with_settings(lesions=LesionSettings)
class LesionsConfig(ShardConfig):
    """Configuration of the lesions."""


@sharded("lesions", "lesions", [exams, findings], {"parquet", "nifti"})
def lesions(context: dg.AssetExecutionContext, config: LesionsConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row an accepted finding: a lesion with its mask and measures, or why it is not in the image."""
    settings = settings_of_run(workspace, config)
    report = run_shard(context, workspace, "lesions", config.only_exams, settings)
    found = report.frame.filter(report.frame["outcome"] == "lesion")
    metadata: dict[str, Any] = {"lesions": found.height, "not located": report.frame.height - found.height}
    if found.height and report.counts.recomputed:
        exam_id = found["exam_id"][0]
        metadata["picture"] = picture(
            exam_picture(workspace.paths, exam_id, found), f"MIP of exam {exam_id} with its lesions"
        )
    return stage_result(report, **metadata)
