"""Beside the scoreboard: the reader study."""

import dagster as dg

from assets.partitions import MODEL_OWNERS, column_schema, table_sample
from assets.pictures import picture
from assets.resources import Workspace
from assets.texts import predictions
from model.reader_study.cases import StudyError
from model.reader_study.figure import study_figure
from model.reader_study.study import update_results, update_sheets
from pipelines.catalog import build_catalog


@dg.asset(deps=[predictions], group_name="evaluation", owners=MODEL_OWNERS, kinds={"html"})
def reader_study(workspace: Workspace) -> dg.MaterializeResult:
    """Blinded rating sheets, a folder a reader that opens from disk, and the key that stays here."""
    try:
        study, sheets = update_sheets(workspace.paths, workspace.evaluation().study)
    except StudyError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    return dg.MaterializeResult(
        data_version=dg.DataVersion(study.study_id),
        metadata={
            "cases": len(study.cases),
            "of the external set": sum(case.is_external for case in study.cases),
            "recomputed": sheets.n_drawn,
            "reused": sheets.n_reused,
            "left out": dg.MetadataValue.json(dict(study.left_out)),
            "without picture": dg.MetadataValue.json(dict(sheets.without_picture)),
            "send to the readers": dg.MetadataValue.json({reader: str(path) for reader, path in sheets.sheets.items()}),
            "put their files into": dg.MetadataValue.path(str(sheets.folder / "ratings")),
        },
    )


class ResultsConfig(dg.Config):
    """Which study is read."""

    study: str = ""
    """Name of its folder; empty: the study whose ratings are newest."""


@dg.asset(
    deps=[reader_study],
    group_name="evaluation",
    owners=MODEL_OWNERS,
    kinds={"parquet", "markdown"},
    metadata={"dagster/column_schema": column_schema("agreement")},
)
def reader_study_results(
    context: dg.AssetExecutionContext, config: ResultsConfig, workspace: Workspace
) -> dg.MaterializeResult:
    """Ratings read back: means, preferences, agreement of the readers, and every metric against them."""
    home = workspace.paths
    try:
        report = update_results(home, config.study, workspace.evaluation().scores)
    except StudyError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    for problem in report.read.problems:
        context.log.warning("%s", problem)
    build_catalog(home.root)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "dagster/row_count": report.agreement.height,
            "ratings": report.read.frame.height,
            "files": report.read.n_files,
            "values left out": report.read.n_values_left_out,
            "lines left out": report.read.n_lines_left_out,
            "results": dg.MetadataValue.md(report.text),
            "figure": picture(study_figure(report.agreement), "The reader study"),
            "agreement": table_sample(report.agreement, limit=100),
            "path": dg.MetadataValue.path(str(report.path)),
        },
    )


study = dg.define_asset_job(
    "study",
    selection=dg.AssetSelection.assets(reader_study, reader_study_results),
    description="The reader study: sheets of the predictions as they are now, ratings read back.",
    executor_def=dg.in_process_executor,
)

JOBS = [study]
