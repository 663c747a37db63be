"""Lesions: each accepted finding located, contoured, measured and saved as a mask."""

import dagster as dg

from assets.exams import ShardConfig, exams
from assets.partitions import run_shard, settings_of_run, sharded
from assets.reports import findings
from assets.resources import Workspace
from assets.run_config import with_settings
from pipelines.settings import LesionSettings


@with_settings(lesions=LesionSettings)
class LesionsConfig(ShardConfig):
    """Configuration of the lesions."""


@sharded("lesions", "lesions", [exams, findings], {"parquet", "nifti"})
def lesions(context: dg.AssetExecutionContext, config: LesionsConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row an accepted finding: a lesion with its mask and measures, or why it is not in the image."""
    settings = settings_of_run(workspace, config)
    return run_shard(context, workspace, "lesions", config.only_exams, settings)
