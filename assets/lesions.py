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


@sharded("peaks", "lesions", [exams, findings], {"parquet", "numpy"})
def peaks(context: dg.AssetExecutionContext, config: ShardConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row an exam with a volume: its local maxima and its body frame, kept as a file, and how likely each
    calibration makes its report.
    """
    return run_shard(context, workspace, "peaks", config.only_exams)


@sharded("calibration", "lesions", [exams, peaks], {"parquet"})
def calibration(context: dg.AssetExecutionContext, config: ShardConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row an exam: how its report is read against its image, by the sums of the likelihoods over its scanner and
    over the whole cohort.
    """
    return run_shard(context, workspace, "calibration", config.only_exams)


@sharded("lesions", "lesions", [exams, findings, peaks, calibration], {"parquet", "nifti"})
def lesions(context: dg.AssetExecutionContext, config: LesionsConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row an accepted finding: a lesion with its mask and measures, or why it is not in the image."""
    settings = settings_of_run(workspace, config)
    return run_shard(context, workspace, "lesions", config.only_exams, settings)
