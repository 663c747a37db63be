"""The catalog: DuckDB views over the lake, the dataset card, and the attrition from exams to lesions."""

import dagster as dg

from assets.exams import exams
from assets.lesions import lesions
from assets.partitions import CURATION_OWNERS, changed, table_sample
from assets.pictures import picture
from assets.reports import findings, identifiers, readings, sentences
from assets.resources import Workspace
from pipelines.catalog import build_catalog, run_query
from pipelines.curation import curation_version
from pipelines.imaging.pictures import funnel_figure
from pipelines.quality.card import write_card


@dg.asset(
    deps=[exams, sentences, readings, findings, lesions, identifiers],
    group_name="lesions",
    owners=CURATION_OWNERS,
    kinds={"duckdb", "sql"},
    automation_condition=changed(),
)
def catalog(workspace: Workspace) -> dg.MaterializeResult:
    """`petar.duckdb`: views over every Parquet table, built beside and swapped in, so that a reader never waits nor
    sees half.
    """
    home = workspace.paths
    summary = build_catalog(home.root)
    funnel = run_query(home.root, "funnel")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(curation_version(home)),
        metadata={
            **{f"rows of {table}": rows for table, rows in summary.tables.items()},
            "version": summary.version,
            "funnel": table_sample(funnel, limit=50),
            "path": dg.MetadataValue.path(str(home.catalog)),
        },
    )


@dg.asset(
    deps=[catalog], group_name="lesions", owners=CURATION_OWNERS, kinds={"markdown"}, automation_condition=changed()
)
def dataset_card(workspace: Workspace) -> dg.MaterializeResult:
    """What the curation holds, in words and one figure: counts, tracers, regions, reasons of rejection, splits,
    methods, known biases.
    """
    home = workspace.paths
    card = write_card(home, workspace.settings().curation)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(card.version),
        metadata={
            "card": dg.MetadataValue.md(card.text),
            "attrition": picture(funnel_figure(card.funnel), "Attrition from exams to lesions"),
            "path": dg.MetadataValue.path(str(card.path)),
        },
    )
