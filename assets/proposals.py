"""Proposals: peaks of exams, with a report and without, that may be lesions nobody spoke of."""

from collections.abc import Iterator

import dagster as dg

from assets.curation import Event, ShardEvents, raise_failures, workers_of
from assets.exams import ShardConfig, exams
from assets.faults import RETRY, permanent
from assets.lesions import peaks
from assets.partitions import run_shard, sharded
from assets.resources import Workspace
from pipelines.curation.curate import Failures, curate_stale
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.run import PROPOSED
from pipelines.curation.shard_work import StageDone
from pipelines.review.stage_details import stage_details


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
    tags={"petar/alone": "find_candidates"},
    description="Candidates of all exams as they are curated: one run for all shards that are not current.",
)
def find_candidates() -> None:
    """The candidates of a curation."""
    find_stale_candidates()


JOBS = [find_candidates]
