"""The 64 shards, the automation condition for changed ones, and the metadata of assets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import dagster as dg
import polars as pl

from assets.faults import RETRY, permanent
from assets.pictures import picture
from assets.resources import Workspace
from assets.run_config import given
from model.petar.config import check_model
from pipelines.catalog import column_lineage as lineage
from pipelines.curation.run import run_stage, stage_code
from pipelines.curation.shard_work import StageDone, described
from pipelines.review.stage_details import SAMPLE_ROWS, stage_details
from pipelines.settings import ProjectSettings, overlaid
from pipelines.tables import schemas
from pipelines.tables.shards import SHARD_NAMES

SHARDS = dg.StaticPartitionsDefinition(list(SHARD_NAMES))

CURATION_OWNERS = ["team:curation"]
MODEL_OWNERS = ["team:model"]

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
            .since(on.newly_requested() | on.newly_updated() | on.initial_evaluation())
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


def sharded(
    table: str,
    group: str,
    deps: Sequence[Any],
    kinds: set[str],
    pool: str | None = None,
    is_automatic: bool = True,
) -> AssetDecorator:
    """Decorator of the asset of a sharded table, one partition a shard; one that is not automatic is made where it is
    asked for."""
    return dg.asset(
        partitions_def=SHARDS,
        deps=deps,
        group_name=group,
        owners=CURATION_OWNERS,
        kinds=kinds,
        pool=pool,
        code_version=stage_code(table),
        automation_condition=changed() if is_automatic else None,
        retry_policy=RETRY,
        metadata=table_metadata(table),
    )


def cohort_wide(table: str, group: str, deps: Sequence[Any]) -> AssetDecorator:
    """Decorator of the asset of a table that is made from the cohort as a whole."""
    return dg.asset(
        deps=deps,
        group_name=group,
        owners=CURATION_OWNERS,
        kinds={"parquet"},
        automation_condition=changed(),
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


def table_sample(frame: pl.DataFrame, limit: int = SAMPLE_ROWS) -> dg.TableMetadataValue:
    """The first rows of a frame as a table of the UI."""
    head = frame.head(limit)
    records = [
        dg.TableRecord({k: v if isinstance(v, _PLAIN) else str(v) for k, v in row.items()})
        for row in head.iter_rows(named=True)
    ]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(c) for c in head.columns]))


def stage_metadata(done: StageDone) -> dict[str, Any]:
    """What a sharded asset reports: rows, exams recomputed, reused, removed and failed, rows in quarantine, first
    rows, and what `stage_details` tells of the table.
    """
    details = {name: value for name, value in done.details.items() if name not in ("warnings", "caption")}
    if "first rows" in details:
        details["first rows"] = table_sample(details["first rows"])
    if "picture" in details:
        details["picture"] = picture(details["picture"], str(done.details["caption"]))
    return {
        "dagster/partition_row_count": done.n_rows,
        "recomputed": done.counts.recomputed,
        "reused": done.counts.reused,
        "removed": done.counts.removed,
        "failed": done.counts.failed,
        "rows recomputed": done.rows_recomputed,
        "rows reused": done.rows_reused,
        "quarantined": done.quarantined,
        **details,
    }


def run_shard(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    table: str,
    only_exams: list[str],
    settings: ProjectSettings | None = None,
) -> dg.MaterializeResult:
    """Brings the shard of a run up to date; `settings` where a run's own differ from the workspace's."""
    curation = workspace.curation()
    if settings is not None:
        curation = replace(curation, settings=settings.curation)
    # ValueError: an exam named that is not of this shard.
    with permanent(ValueError):
        report = run_stage(curation, table, int(context.partition_key), only=only_exams, log=context.log)
    done = described(curation, report, stage_details)
    for words in done.details.get("warnings", ()):
        context.log.warning("%s", words)
    return dg.MaterializeResult(data_version=dg.DataVersion(done.version), metadata=stage_metadata(done))


def settings_of_run(workspace: Workspace, config: dg.Config) -> ProjectSettings:
    """The workspace's settings with those that a run's configuration sets in their place.

    Raises:
        PermanentFailure: a value that is not allowed.
    """
    with permanent():
        settings = overlaid(workspace.settings(), given(config), "the run's configuration")
        check_model(settings.model)
    return settings
