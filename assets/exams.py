"""Exams: the observed manifest of the cohort, and each exam's SUV volume with its CT."""

from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from assets.faults import permanent
from assets.partitions import SHARDS, run_shard, sharded
from assets.resources import Workspace
from pipelines.cohort.corrections import read_observed
from pipelines.cohort.manifest import observe_cohort, observe_corrections
from pipelines.tables.shards import shard_name

ACCEPT_REMOVALS = "petar/accept-removals"
"""Tag of a run that observes: `true` where exams may leave that are too many to leave unasked."""


def accepts_removals(tags: Mapping[str, str]) -> bool:
    """Whether the tags of a run let exams leave that are too many to leave unasked."""
    return tags.get(ACCEPT_REMOVALS, "").lower() == "true"


class ShardConfig(dg.Config):
    """Configuration that every sharded asset takes."""

    only_exams: list[str] = Field(
        default=[],
        description="Exams of this shard to compute, whether they changed or not; empty: those that changed.",
    )


@dg.observable_source_asset(
    partitions_def=SHARDS,
    group_name="exams",
    tags={"dagster/kind/folder": ""},
    description="The cohort folder: which exams and reports are there, by fingerprint. A shard's data version changes "
    "when an exam or a report of it does. Observing reads the files whose size or time changed and nothing else.",
)
def exam_manifest(context: dg.OpExecutionContext, workspace: Workspace) -> dg.DataVersionsByPartition:
    """Data version of every shard of the cohort; a run with the tag `ACCEPT_REMOVALS` lets many exams leave at once."""
    accept = accepts_removals(context.run.tags)
    with permanent():
        versions = observe_cohort(
            workspace.cohort_folder,
            workspace.paths.manifest,
            workspace.deidentifier(),
            accept_removals=accept,
            reviews=workspace.paths.reviews,
        )
    return dg.DataVersionsByPartition({shard_name(shard): version for shard, version in versions.items()})


@dg.observable_source_asset(
    partitions_def=SHARDS,
    group_name="reports",
    tags={"dagster/kind/csv": ""},
    description="corrections.csv of the cohort, and what reviewers corrected in the pages (PETAR_HOME/reviews): they "
    "override readers. A shard's "
    "data version changes when a line that concerns an exam of it does. What became of each line stands in the table "
    "`corrections`.",
)
def corrections(context: dg.OpExecutionContext, workspace: Workspace) -> dg.DataVersionsByPartition:
    """Data version of the corrections of every shard."""
    with permanent():
        home = workspace.paths
        versions = observe_corrections(workspace.cohort_folder, home.manifest, workspace.deidentifier(), home.reviews)
    for shard in versions:
        for line in read_observed(workspace.paths.manifest, shard):
            if line.problem is not None:
                context.log.warning("corrections.csv, %s", line.problem)
    return dg.DataVersionsByPartition({shard_name(shard): version for shard, version in versions.items()})


@sharded("exams", "exams", [exam_manifest], {"dicom", "parquet"})
def exams(context: dg.AssetExecutionContext, config: ShardConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row an exam: its PET as SUV and its CT on the PET's grid, or the reason why there is no volume."""
    return run_shard(context, workspace, "exams", config.only_exams)
