"""Reports: sentences, what the readers read in them, and the findings that they agree on."""

import dagster as dg
import polars as pl

from assets.exams import ShardConfig, corrections, exam_manifest, exams
from assets.partitions import cohort_wide, run_shard, settings_of_run, sharded, table_sample
from assets.resources import Workspace
from assets.run_config import with_settings
from pipelines.cohort.identifiers import update_identifiers
from pipelines.cohort.reports_table import update_reports
from pipelines.settings import ConsensusSettings


@with_settings(consensus=ConsensusSettings)
class FindingsConfig(ShardConfig):
    """Configuration of the findings."""


@sharded("sentences", "reports", [exam_manifest], {"parquet"})
def sentences(context: dg.AssetExecutionContext, config: ShardConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row a unit of the report that can be a finding, with its character span; candidates hold an SUV and a
    slice.
    """
    return run_shard(context, workspace, "sentences", config.only_exams)


@sharded("readings", "reports", [sentences], {"parquet", "openai"}, pool="llm")
def readings(context: dg.AssetExecutionContext, config: ShardConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row a mention of a reader in a passage: its values, place, exam and role, or why the reader failed."""
    return run_shard(context, workspace, "readings", config.only_exams)


@sharded("findings", "reports", [exams, sentences, readings, corrections], {"parquet"})
def findings(context: dg.AssetExecutionContext, config: FindingsConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row a finding, or a mention that is none: `accepted`, or the reason of its rejection."""
    settings = settings_of_run(workspace, config)
    return run_shard(context, workspace, "findings", config.only_exams, settings)


@cohort_wide("identifiers", "reports", [exam_manifest])
def identifiers(workspace: Workspace) -> dg.MaterializeResult:
    """Identifiers in report texts (names, numbers, dates), counted by exam and kind; `privacy.mask_reports` hides
    them.
    """
    frame, written = update_identifiers(workspace.paths, workspace.settings().privacy)
    kinds = frame.group_by("kind", "is_masked").agg(found=pl.col("n").sum(), exams=pl.len()).sort("kind")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.rows_digest),
        metadata={
            "dagster/row_count": frame.height,
            "found": int(frame["n"].sum()),
            "unmasked": int(frame.filter(~pl.col("is_masked"))["n"].sum()),
            "kinds": table_sample(kinds, limit=20),
        },
    )


@cohort_wide("reports", "reports", [exam_manifest])
def reports(workspace: Workspace) -> dg.MaterializeResult:
    """The reports as they are read, with their dates; masked and moved where `privacy.mask_reports` is on."""
    frame, written = update_reports(workspace.paths)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.rows_digest),
        metadata={
            "dagster/row_count": frame.height,
            "without text": frame["text"].null_count(),
            "with a message": frame.height - frame["message"].null_count(),
        },
    )
