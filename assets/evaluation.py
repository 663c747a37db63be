"""Evaluation: texts on held-out lesions, their scores with intervals, and the scoreboard beside the published rows."""

import dagster as dg

from assets.partitions import MODEL_OWNERS, column_schema, table_sample
from assets.pictures import picture
from assets.resources import Workspace
from assets.training import STAGE_ASSETS, samples
from model.config import STAGES
from model.evaluation import update_predictions, update_scores, write_scoreboard
from pipelines.imaging.pictures import scores_figure

_LAST = STAGES[-1]


@dg.asset(
    deps=[samples, STAGE_ASSETS[-1]],
    group_name="evaluation",
    owners=MODEL_OWNERS,
    kinds={"torch", "parquet"},
    pool="gpu",
    metadata={"dagster/column_schema": column_schema("predictions")},
)
def predictions(workspace: Workspace) -> dg.MaterializeResult:
    """What the model says of every held-out lesion; numbers are those measured on the mask, and the text as it came
    is kept beside.
    """
    home = workspace.paths
    try:
        report = update_predictions(
            home, home.checkpoints / _LAST / "checkpoint", f"petar-{workspace.settings().model.preset}"
        )
    except (ValueError, FileNotFoundError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "dagster/row_count": report.frame.height,
            "recomputed": report.recomputed,
            "reused": report.reused,
            "texts": table_sample(report.frame.select("finding_id", "model", "reference", "text_measured"), limit=20),
        },
    )


@dg.asset(
    deps=[predictions],
    group_name="evaluation",
    owners=MODEL_OWNERS,
    kinds={"parquet"},
    metadata={"dagster/column_schema": column_schema("scores")},
)
def scores(workspace: Workspace) -> dg.MaterializeResult:
    """Every metric of every model and split with its interval over patients; what cannot be computed says what is
    missing.
    """
    report = update_scores(workspace.paths)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "dagster/row_count": report.frame.height,
            "recomputed": report.recomputed,
            "reused": report.reused,
            "scores": table_sample(report.frame, limit=60),
        },
    )


@dg.asset(deps=[scores], group_name="evaluation", owners=MODEL_OWNERS, kinds={"markdown", "duckdb"})
def scoreboard(workspace: Workspace) -> dg.MaterializeResult:
    """The scores as one table, with the paper's rows beside them marked as published; the catalog is renewed to show
    them.
    """
    board = write_scoreboard(workspace.paths)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(board.version),
        metadata={
            "scoreboard": dg.MetadataValue.md(board.text),
            "figure": picture(scores_figure(board.scores), "Scores with their intervals"),
            "path": dg.MetadataValue.path(str(board.path)),
        },
    )


evaluate = dg.define_asset_job(
    "evaluate",
    selection=[predictions, scores, scoreboard],
    description="Texts on held-out lesions, scores, scoreboard.",
    executor_def=dg.in_process_executor,
)

JOBS = [evaluate]
