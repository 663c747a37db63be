"""Evaluation: scores with intervals, comparison of models, scoreboard with the published rows."""

import dagster as dg

from assets.partitions import MODEL_OWNERS, evaluated, table_sample, update_metadata
from assets.pictures import picture
from assets.resources import Workspace
from assets.texts import SOURCES, predictions
from model.evaluation.predictions import TableReport
from model.evaluation.scoreboard import write_scoreboard
from model.evaluation.scores import update_comparisons, update_scores
from model.evaluation.scores_figure import scores_figure


def _result(report: TableReport, name: str, limit: int) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            **update_metadata(report),
            name: table_sample(report.frame, limit=limit),
        },
    )


@evaluated("scores", [predictions], {"parquet"})
def scores(workspace: Workspace) -> dg.MaterializeResult:
    """Every metric of every model and split with its interval over patients, or the reason why it is not computed."""
    report = update_scores(workspace.paths, workspace.evaluation().scores, workspace.cohort_folder.name)
    return _result(report, "scores", 60)


@evaluated("comparisons", [scores], {"parquet"})
def comparisons(workspace: Workspace) -> dg.MaterializeResult:
    """Paired comparison of models: differences with intervals, tests over patients, Holm correction."""
    return _result(update_comparisons(workspace.paths, workspace.evaluation().scores), "comparisons", 60)


@dg.asset(deps=[scores, comparisons], group_name="evaluation", owners=MODEL_OWNERS, kinds={"markdown", "duckdb"})
def scoreboard(workspace: Workspace) -> dg.MaterializeResult:
    """The scores as one table with the published rows of the paper, and the comparison of models."""
    board = write_scoreboard(workspace.paths)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(board.version),
        metadata={
            "scoreboard": dg.MetadataValue.md(board.text),
            "figure": picture(scores_figure(board.scores), "Scores with their intervals"),
            "path": dg.MetadataValue.path(str(board.path)),
            # Long tables last: what stands below them in the UI is not found.
            "scores": table_sample(board.scores, limit=200),
            "comparisons": table_sample(board.comparisons, limit=200),
        },
    )


evaluate = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.assets(*SOURCES, predictions, scores, comparisons, scoreboard),
    description="Texts of all sources on held-out lesions, scores, comparisons, scoreboard.",
)

JOBS = [evaluate]
