"""The 64 shards, the automation condition for changed ones, and the metadata of assets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import dagster as dg
import polars as pl

from assets.dagster_internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from assets.faults import RETRY, PermanentFailure, permanent
from assets.resources import Workspace
from assets.run_config import given
from model.petar.config import check_model
from pipelines.catalog import column_lineage as lineage
from pipelines.curation.run import ShardReport, is_empty, run_stage, stage_code
from pipelines.settings import ProjectSettings, overlaid
from pipelines.tables import schemas
from pipelines.tables.shards import SHARD_NAMES, shard_name

SHARDS = dg.StaticPartitionsDefinition(list(SHARD_NAMES))

CURATION_OWNERS = ["team:curation"]
MODEL_OWNERS = ["team:model"]

_SAMPLE_ROWS = 5
_PLAIN = (str, int, float, bool, type(None))


def changed() -> dg.AutomationCondition:
    """Asks for an asset (or shard) when data below it changed its version, its code did, it is missing, or it newly
    failed.

    `eager()` also fires on materialisations that changed nothing; and a failure must ask once, not at every tick.
    """
    on = dg.AutomationCondition
    return (
        ~on.in_progress()
        & ~on.any_deps_in_progress()
        & ~on.any_deps_missing()
        & (
            on.any_deps_updated()
            .replace("newly_updated", on.data_version_changed())
            .since(on.newly_requested() | on.initial_evaluation())
            | on.code_version_changed()
            | on.newly_missing()
            | on.execution_failed().newly_true()
        )
    ).with_label("data below changed")


def column_schema(table: str) -> dg.TableSchema:
    """The contract of a table as the UI shows it: type, description and constraints of each column."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.name,
                type=c.type,
                description=c.description + (f" [{c.unit}]" if c.unit else ""),
                constraints=dg.TableColumnConstraints(nullable=c.nullable, other=list(c.constraints)),
            )
            for c in schemas.describe(table)
        ]
    )


_ASSET_OF = {lineage.COHORT: "exam_manifest", "ratings": "reader_study"}


def column_lineage(sources: Mapping[str, Sequence[tuple[str, str]]]) -> dg.TableColumnLineage:
    """Which columns of which assets each column is made from."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(dg.AssetKey(_ASSET_OF.get(table, table)), source) for table, source in pairs]
            for column, pairs in sources.items()
        }
    )


def table_metadata(table: str) -> dict[str, Any]:
    """What the definition of a table's asset tells: its columns with their contract, and where each comes from."""
    return {
        "dagster/column_schema": column_schema(table),
        "dagster/column_lineage": column_lineage(lineage.sources_of(table)),
    }


AssetDecorator = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def sharded(table: str, group: str, deps: Sequence[Any], kinds: set[str], pool: str | None = None) -> AssetDecorator:
    """Decorator of the asset of a curated table, one partition a shard."""
    return dg.asset(
        partitions_def=SHARDS,
        deps=deps,
        group_name=group,
        owners=CURATION_OWNERS,
        kinds=kinds,
        pool=pool,
        code_version=stage_code(table),
        automation_condition=changed(),
        retry_policy=RETRY,
        metadata=table_metadata(table),
    )


def evaluated(
    table: str,
    deps: Sequence[Any],
    kinds: set[str],
    pool: str | None = None,
    partitions: dg.PartitionsDefinition[str] | None = None,
) -> AssetDecorator:
    """Decorator of an asset of the evaluation that writes rows of a table."""
    return dg.asset(
        partitions_def=partitions,
        deps=deps,
        group_name="evaluation",
        owners=MODEL_OWNERS,
        kinds=kinds,
        pool=pool,
        metadata=table_metadata(table),
    )


class Updated(Protocol):
    """What an update of a whole table gives."""

    @property
    def frame(self) -> pl.DataFrame: ...

    @property
    def recomputed(self) -> int: ...

    @property
    def reused(self) -> int: ...


def update_metadata(report: Updated) -> dict[str, Any]:
    """What an asset of a whole table reports: its rows, those made anew and those kept."""
    return {
        "dagster/row_count": report.frame.height,
        "recomputed": report.recomputed,
        "reused": report.reused,
    }


def table_sample(frame: pl.DataFrame, limit: int = _SAMPLE_ROWS) -> dg.TableMetadataValue:
    """The first rows of a frame as a table of the UI."""
    head = frame.head(limit)
    records = [
        dg.TableRecord({k: v if isinstance(v, _PLAIN) else str(v) for k, v in row.items()})
        for row in head.iter_rows(named=True)
    ]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(c) for c in head.columns]))


def stage_metadata(report: ShardReport) -> dict[str, dg.MetadataValue | int]:
    """What a sharded asset reports: rows, exams recomputed, reused, removed and failed, rows in quarantine, first
    rows.
    """
    metadata: dict[str, dg.MetadataValue | int] = {
        "dagster/partition_row_count": report.frame.height,
        "recomputed": report.counts.recomputed,
        "reused": report.counts.reused,
        "removed": report.counts.removed,
        "failed": report.counts.failed,
        "rows recomputed": report.rows_recomputed,
        "rows reused": report.rows_reused,
        "quarantined": report.quarantined,
    }
    if report.frame.height:
        metadata["first rows"] = table_sample(report.frame)
    return metadata


def stage_result(report: ShardReport, **more: Any) -> dg.MaterializeResult:
    """What a sharded asset gives: its data version, and `more` beside `stage_metadata`."""
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version), metadata={**stage_metadata(report), **more}
    )


def together(shards: Sequence[int], is_empty: Callable[[int], bool]) -> list[range]:
    """Shards as runs take them: neighbours that are empty in one run, each other shard in one of its own.

    Of a small cohort most shards are empty, and a run costs the same whatever it finds.
    """
    runs: list[range] = []
    before_was_empty = False
    for shard in sorted(shards):
        empty = is_empty(shard)
        if empty and before_was_empty and runs[-1].stop == shard:
            runs[-1] = range(runs[-1].start, shard + 1)
        else:
            runs.append(range(shard, shard + 1))
        before_was_empty = empty
    return runs


def range_tags(shards: range) -> dict[str, str]:
    """Tags of a run of several shards."""
    return {
        ASSET_PARTITION_RANGE_START_TAG: shard_name(shards.start),
        ASSET_PARTITION_RANGE_END_TAG: shard_name(shards.stop - 1),
    }


def run_shard(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    table: str,
    only_exams: list[str],
    settings: ProjectSettings | None = None,
) -> ShardReport:
    """Brings the shard of a run up to date; `settings` where a run's own differ from the workspace's.

    A run of several shards is one of empty ones (`together`).
    """
    curation = workspace.curation()
    if settings is not None:
        curation = replace(curation, settings=settings.curation)
    shards = [int(key) for key in context.partition_keys]
    for shard in shards if len(shards) > 1 else ():
        if not is_empty(curation, shard):
            # One data version and one metadata stand for all shards of a run.
            raise PermanentFailure(
                f"expected shards without exams in a run of several, got exams in shard {shard_name(shard)}: "
                "materialise it in a run of its own"
            )
    # ValueError: an exam named that is not of this shard.
    with permanent(ValueError):
        reports = [run_stage(curation, table, shard, only=only_exams, log=context.log) for shard in shards]
    return reports[-1]


def settings_of_run(workspace: Workspace, config: dg.Config) -> ProjectSettings:
    """The workspace's settings with those that a run's configuration sets in their place.

    Raises:
        PermanentFailure: a value that is not allowed.
    """
    with permanent():
        settings = overlaid(workspace.settings(), given(config), "the run's configuration")
        check_model(settings.model)
    return settings
