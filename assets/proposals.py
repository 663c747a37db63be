"""Proposals: peaks of exams, with a report and without, that may be lesions nobody spoke of."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.catalog import catalog
from assets.curation import Event, ShardEvents, raise_failures, workers_of
from assets.exams import ShardConfig, exams
from assets.faults import RETRY, permanent
from assets.lesions import peaks
from assets.partitions import CURATION_OWNERS, run_shard, sharded, table_metadata, table_sample
from assets.processes import ALONE
from assets.resources import Workspace
from assets.review import reviews
from pipelines.curation.curate import Failures, curate_stale
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.run import PROPOSED
from pipelines.curation.shard_work import StageDone
from pipelines.proposals import from_lake as proposals_module
from pipelines.proposals.from_lake import LIST_NAME, update_proposals
from pipelines.proposals.segmenter import SegmenterError
from pipelines.review.stage_details import stage_details
from pipelines.tables.provenance import code_version


@sharded("candidates", "proposals", [exams, peaks], {"parquet"}, is_automatic=False)
def candidates(context: dg.AssetExecutionContext, config: ShardConfig, workspace: Workspace) -> dg.MaterializeResult:
    """One row a local maximum that may be a lesion, with its features; of exams with a report and without."""
    return run_shard(context, workspace, "candidates", config.only_exams)


@dg.op(
    required_resource_keys={"workspace", "watch"},
    retry_policy=RETRY,
    tags={"dagster/kind/parquet": ""},
    out={},
    description="Computes the candidates of the shards that are not current, and tells of each.",
)
def find_stale_candidates(context: dg.OpExecutionContext) -> Iterator[Event]:
    """One failed shard bars no other; at the end the run fails with their names."""
    workspace: Workspace = context.resources.workspace
    with permanent():
        curation, n_workers = workspace.curation(), workers_of(workspace.settings())
    failures, done = Failures(), list[StageDone]()
    watch = context.resources.watch
    engine = LocalEngine(n_workers, context.log, watch.at)
    for stages in curate_stale(workspace.source, engine, stage_details, watch, failures, (PROPOSED,)):
        done += stages
    events = ShardEvents(context, curation, {"candidates": candidates})
    yield from events.shards(done)
    yield from events.missed()
    raise_failures(context.log, failures)


@dg.job(
    name="find_candidates",
    tags={ALONE: "find_candidates"},
    description="Candidates of all exams as they are curated: one run for all shards that are not current.",
)
def find_candidates() -> None:
    """The candidates of a curation."""
    find_stale_candidates()


@dg.asset(
    deps=[candidates, catalog, reviews],
    group_name="proposals",
    owners=CURATION_OWNERS,
    kinds={"parquet", "nifti", "scikitlearn"},
    code_version=code_version(proposals_module.__name__),
    metadata=table_metadata("proposals"),
)
def proposals(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Of each exam without a report the candidates that are to be reviewed, and what reviewers said; the model learns
    from the reports of the cohort and from the answers.
    """
    home = workspace.paths
    with permanent(SegmenterError):
        done = update_proposals(home, workspace.settings(), context.log)
    for problem in done.problems:
        context.log.warning("%s", problem)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.written.rows_digest),
        metadata={
            "dagster/row_count": done.frame.height,
            "exams without a report": done.n_exams,
            "to review": done.frame["listed"].count(),
            "accepted": int(done.frame["is_accepted"].sum()),
            "model": done.model or "none: by prominence alone",
            "problems": dg.MetadataValue.json(list(done.problems)),
            "review list": dg.MetadataValue.path(str(home.root / "proposals" / LIST_NAME)),
            "first rows": table_sample(done.frame),
        },
    )


propose = dg.define_asset_job(
    "propose",
    selection=dg.AssetSelection.assets(proposals),
    description="Proposals of exams without a report, of the candidates as they are; `find_candidates` goes before it.",
)

JOBS: list[Any] = [find_candidates, propose]
