"""Studies: robustness against worse masks, the external set, the reader study."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from assets.faults import permanent
from assets.partitions import MODEL_OWNERS, evaluated, table_sample, update_metadata
from assets.pictures import picture
from assets.resources import Workspace
from assets.texts import predictions
from assets.training import STAGE_ASSETS, samples
from model.evaluation.external import update_external
from model.evaluation.reader_study.cases import StudyError
from model.evaluation.reader_study.figure import study_figure
from model.evaluation.reader_study.study import update_results, update_sheets
from model.evaluation.robustness import update_robustness
from model.evaluation.robustness_figure import robustness_figure
from model.petar.config import TRAINING_STAGES
from pipelines.tables import atomic


def _trained(workspace: Workspace) -> tuple[Path, str]:
    """PETAR's last checkpoint, and what its model is called."""
    folder = workspace.paths.checkpoint(TRAINING_STAGES[-1])
    return folder, f"petar-{workspace.settings().model.preset}"


@evaluated("robustness", [samples, STAGE_ASSETS[-1]], {"torch", "parquet"}, pool="gpu")
def robustness(workspace: Workspace) -> dg.MaterializeResult:
    """The model's scores under worse masks: edges moved in and out, masks shifted, another lesion's mask."""
    home, settings = workspace.paths, workspace.evaluation()
    with permanent(ValueError, FileNotFoundError):
        report = update_robustness(home, *_trained(workspace), settings.robustness, settings.scores)
    figure = robustness_figure(report.frame)
    path = home.robustness / "robustness.png"
    atomic.write_bytes(path, figure)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            **update_metadata(report),
            "curve": picture(figure, "Scores against mask quality"),
            "rows": table_sample(report.frame, limit=100),
            "path": dg.MetadataValue.path(str(path)),
        },
    )


@evaluated("external", [STAGE_ASSETS[-1]], {"torch", "nifti", "html"}, pool="gpu")
def external(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Texts for an external set in autoPET's layout (`external` in [evaluation]): components of SEG become lesions."""
    settings = workspace.evaluation()
    if settings.external is None:
        return dg.MaterializeResult(
            metadata={"dagster/row_count": 0, "told": "no external set: name its folder as `external` in [evaluation]"}
        )
    home = workspace.paths
    with permanent(FileNotFoundError):
        report = update_external(home, settings.external, *_trained(workspace), settings.external_min_ml)
    for problem in report.problems:
        context.log.warning("%s", problem)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            **update_metadata(report),
            "without text": report.frame["text"].null_count(),
            "problems": dg.MetadataValue.json(list(report.problems)),
            "texts": table_sample(report.frame.select("lesion_id", "suvmax", "mtv_ml", "text_measured"), limit=20),
            "review pages": "none" if report.gallery is None else dg.MetadataValue.path(str(report.gallery.index)),
        },
    )


@dg.asset(deps=[predictions, external], group_name="evaluation", owners=MODEL_OWNERS, kinds={"html"})
def reader_study(workspace: Workspace) -> dg.MaterializeResult:
    """Blinded rating sheets, a folder a reader that opens from disk, and the key that stays here."""
    with permanent(StudyError):
        study, sheets = update_sheets(workspace.paths, workspace.evaluation().study)
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

    study: str = Field(default="", description="Name of its folder; empty: the study whose ratings are newest.")


@evaluated("agreement", [reader_study], {"parquet", "markdown"})
def reader_study_results(
    context: dg.AssetExecutionContext, config: ResultsConfig, workspace: Workspace
) -> dg.MaterializeResult:
    """Ratings of the readers: means, preferences, agreement, and correlation of every metric with them."""
    home = workspace.paths
    with permanent(StudyError):
        report = update_results(home, config.study, workspace.evaluation().scores)
    for problem in report.read.problems:
        context.log.warning("%s", problem)
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
    selection=dg.AssetSelection.assets(external, reader_study, reader_study_results),
    description="The reader study: sheets of the predictions as they are now, ratings read back.",
)

robust = dg.define_asset_job(
    "robustness_and_external",
    selection=dg.AssetSelection.assets(robustness, external),
    description="The model under worse masks, and on the external set.",
)

JOBS = [robust, study]
