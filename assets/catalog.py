"""The catalog: DuckDB views over the lake, the dataset card, and the attrition from exams to lesions."""

from functools import reduce
from operator import or_

import dagster as dg
from pydantic import Field

from assets.exams import exams
from assets.faults import RETRY, permanent
from assets.lesions import lesions
from assets.partitions import CURATION_OWNERS, changed, table_sample
from assets.pictures import picture
from assets.reports import findings, identifiers, readings, reports, sentences
from assets.resources import Workspace
from model.evaluation.scoreboard import who_is_ahead
from pipelines.catalog.build import CatalogError, published_diff, run_query
from pipelines.catalog.publish import publish
from pipelines.catalog.versions import VersionError, accept, read_manifest, version_folder
from pipelines.review.dataset_card import write_card
from pipelines.review.funnel_figure import funnel_figure
from pipelines.review.overview import markdown_page, write_overview
from pipelines.tables.curation_version import curation_version
from pipelines.tables.lake import Lake

LATER_TABLES = (
    "exam_pairs",
    "lesion_links",
    "candidates",
    "proposals",
    "reviews",
    "samples",
    "predictions",
    "scores",
    "comparisons",
    "robustness",
    "external",
    "reader_study_results",
)
"""Assets whose tables the catalog shows though it does not depend on them: they are made from what it published."""


def _later_table_written() -> dg.AutomationCondition:
    """Asks for the catalog when one of `LATER_TABLES` was materialised since it was asked for last."""
    on = dg.AutomationCondition
    written = reduce(or_, [on.asset_matches(name, on.newly_updated()) for name in LATER_TABLES])
    return ~on.in_progress() & written.since(on.newly_requested())


@dg.asset(
    deps=[exams, sentences, readings, findings, lesions, identifiers, reports],
    group_name="lesions",
    owners=CURATION_OWNERS,
    kinds={"duckdb", "sql"},
    automation_condition=changed() | _later_table_written(),
    retry_policy=RETRY,
)
def catalog(workspace: Workspace) -> dg.MaterializeResult:
    """`petar.duckdb`: views over every Parquet table, built in a temporary file and swapped in atomically."""
    home = workspace.paths
    with permanent(CatalogError):
        published = publish(home)
    summary = published.catalog
    funnel = run_query(home, "funnel")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(curation_version(home)),
        metadata={
            **{f"rows of {table}": rows for table, rows in summary.tables.items()},
            "version": summary.version,
            "versions taken away": len(summary.pruned),
            "files taken away": published.n_collected,
            "funnel": table_sample(funnel, limit=50),
            "path": dg.MetadataValue.path(str(home.catalog)),
        },
    )


class DiffConfig(dg.Config):
    """Configuration of the diff."""

    against: str = Field(
        default="",
        description="Version, or the name that one was accepted under, to compare what is published now with; empty: "
        "the last version whose curated rows are others.",
    )


@dg.asset(
    deps=[catalog], group_name="lesions", owners=CURATION_OWNERS, kinds={"duckdb"}, automation_condition=changed()
)
def curation_diff(config: DiffConfig, workspace: Workspace) -> dg.MaterializeResult:
    """Lesions added, removed and changed since another version of the curation, each with its cause: inputs,
    corrections, readers, logic, parameters, neighbours.
    """
    with permanent(CatalogError):
        found = published_diff(workspace.paths, config.against)
    by = found.rows.group_by("change", "why").len("lesions").sort("change", "why")
    counts = dict(found.rows.group_by("change").len().iter_rows())
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{found.before}-{found.now}"),
        metadata={
            "dagster/row_count": found.rows.height,
            **{change: counts.get(change, 0) for change in ("came", "went", "changed")},
            "version": found.now,
            "since": found.before or "there was none before",
            "why": table_sample(by, limit=50),
            "lesions": table_sample(found.rows.drop("sentence"), limit=50),
        },
    )


class AcceptConfig(dg.Config):
    """Configuration of an acceptance."""

    name: str = Field(description="What to call the version, e.g. `2026-01`; a name never changes its version.")
    who: str = Field(description="Who accepts it.")
    note: str = Field(default="", description="Why, for whom.")
    version: str = Field(default="", description="Version to accept; empty: what is published now.")
    despite_failed_checks: bool = Field(
        default=False, description="Accept it although a quality check of severity error fails."
    )


@dg.asset(deps=[catalog], group_name="lesions", owners=CURATION_OWNERS, kinds={"parquet"})
def accepted_curation(config: AcceptConfig, workspace: Workspace) -> dg.MaterializeResult:
    """A version accepted for use: kept permanently under a name, with its masks and volumes."""
    home = workspace.paths
    with permanent():
        failed = [r.name for r in workspace.check_results() if r.severity == "error" and not r.passed]
        if failed and not config.despite_failed_checks:
            raise VersionError(
                f"expected a curation whose checks pass, got {', '.join(failed)}: fix what they name, or accept it "
                "with despite_failed_checks = true"
            )
        made = accept(home, config.name, config.who, config.note, config.version)
    manifest = read_manifest(home, made.version)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{made.name}-{made.version}"),
        metadata={
            "name": made.name,
            "version": made.version,
            "who": made.who,
            "note": made.note,
            "failed checks": dg.MetadataValue.json(failed),
            "code": dg.MetadataValue.json(manifest.get("code", {})),
            "parameters": dg.MetadataValue.json(manifest.get("makers", {})),
            "path": dg.MetadataValue.path(str(version_folder(home, made.version))),
        },
    )


@dg.asset(
    deps=[catalog], group_name="lesions", owners=CURATION_OWNERS, kinds={"markdown"}, automation_condition=changed()
)
def dataset_card(workspace: Workspace) -> dg.MaterializeResult:
    """Summary of the curation: counts, tracers, regions, reasons of rejection, splits, methods, known biases."""
    home = workspace.paths
    settings = workspace.settings()
    card = write_card(home, settings.curation, settings.samples)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(card.version),
        metadata={
            "card": dg.MetadataValue.md(card.text),
            "attrition": picture(funnel_figure(card.funnel), "Attrition from exams to lesions"),
            "path": dg.MetadataValue.path(str(card.path)),
        },
    )


@dg.asset(deps=[catalog], group_name="lesions", owners=CURATION_OWNERS, kinds={"html"}, automation_condition=changed())
def overview(workspace: Workspace) -> dg.MaterializeResult:
    """The state of the cohort on one page: numbers, attrition, what to do and where, lesions, scores."""
    home = workspace.paths
    comparisons = Lake(home.lake).read_table("comparisons")
    found = write_overview(home, list(workspace.check_results()), who_is_ahead(comparisons))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(found.version),
        metadata={
            **dict(found.numbers),
            "overview": dg.MetadataValue.md(markdown_page(found)),
            "attrition": picture(funnel_figure(found.funnel), "Attrition from exams to lesions"),
            "path": dg.MetadataValue.path(str(home.overview)),
        },
    )
