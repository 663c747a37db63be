"""Review: gallery, reviewers' answers, scorecard of the readers, slice conventions."""

from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from assets.catalog import catalog
from assets.lesions import calibration
from assets.partitions import CURATION_OWNERS, table_metadata, table_sample
from assets.pictures import picture
from assets.resources import Workspace
from model.evaluation.scores_figure import scores_figure
from pipelines.cohort.privacy.deidentification import is_private_home
from pipelines.curation.convention_trial import better_convention, convention_figure, try_conventions
from pipelines.exports.viewer_files import source_folders
from pipelines.reports.llm.readers_file import ReadersConfig
from pipelines.reports.reader_history import over_time, reader_errors, recorded
from pipelines.reports.reader_weights import ReaderWeights, measured, votes_of_reviews, write_weights
from pipelines.reports.readers import may_vote
from pipelines.reports.reviewed_passages import reviewed_passages
from pipelines.reports.scorecard import by_topic, labelled_votes, not_right, rows_of_figure, score, table_of_scores
from pipelines.review.exam_pages import ExamSources
from pipelines.review.gallery import GallerySettings, GalleryTables, flags_of, write_gallery
from pipelines.review.reliability import reliability, reliability_figure
from pipelines.review.reviews import read_reviews, reviewed
from pipelines.tables.curation_version import curation_version
from pipelines.tables.lake import Lake

_PUBLISHED_LOCATION = 0.98


class GalleryConfig(dg.Config):
    """What is drawn for review: a sample of fixed seed, stratified by region and size."""

    n_lesions: int = Field(default=200, ge=0, description="Lesions that are drawn, at least 0.")
    n_rejected: int = Field(default=100, ge=0, description="Rejected findings that are drawn, at least 0.")
    n_proposals: int = Field(default=200, ge=0, description="Proposals that are drawn, at least 0.")
    seed: int = Field(default=0, description="Of the sample, where there are more than are drawn.")


@dg.asset(deps=[catalog], group_name="review", owners=CURATION_OWNERS, kinds={"html"})
def gallery(config: GalleryConfig, workspace: Workspace) -> dg.MaterializeResult:
    """Review pages that open from disk: pictures, sentence, measures and checks of each lesion, judged by keyboard."""
    home = workspace.paths
    lake = Lake(home.lake)
    version = curation_version(home)
    found, located = lake.read_table("findings"), lake.read_table("lesions")
    chosen = workspace.settings()
    settings = GallerySettings(
        home=home,
        curation=version,
        n_lesions=config.n_lesions,
        n_rejected=config.n_rejected,
        n_proposals=config.n_proposals,
        seed=config.seed,
        review=chosen.review,
        sources=ExamSources(source_folders(home), chosen.exam, not chosen.privacy.mask_reports),
    )
    is_private = is_private_home(home.manifest)
    summary = write_gallery(
        home.gallery,
        GalleryTables(
            localisations=located,
            findings=found,
            readings=lake.read_table("readings"),
            exams=lake.read_table("exams"),
            flags=flags_of(workspace.check_results()),
            reviews=read_reviews(home.reviews, found, located, version, is_private=is_private).frame,
            proposals=lake.read_table("proposals"),
        ),
        settings,
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            "lesions": summary.n_lesions,
            "rejected findings": summary.n_rejected,
            "proposals": summary.n_proposals,
            "recomputed": summary.n_drawn,
            "reused": summary.n_reused,
            "removed": summary.n_removed,
            "exam pages": summary.pages.written + summary.pages.reused,
            "exams without page": dg.MetadataValue.json(dict(summary.pages.failed)),
            "without picture": dg.MetadataValue.json(dict(summary.without_picture)),
            "path": dg.MetadataValue.path(str(summary.index)),
        },
    )


@dg.asset(
    deps=[gallery],
    group_name="review",
    owners=CURATION_OWNERS,
    kinds={"parquet"},
    metadata=table_metadata("reviews"),
)
def reviews(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """The answers of reviewers (CSV files in PETAR_HOME/reviews): how many contours are right, and what to fix."""
    home = workspace.paths
    read, summary = reviewed(home)
    for problem in read.problems:
        context.log.warning("%s", problem)
    lake = Lake(home.lake)
    written = lake.write_table("reviews", read.frame)
    figure = reliability_figure(reliability(lake.read_table("lesions"), read.frame))
    drawn = {} if figure is None else {"reliability": picture(figure, "Claimed and reviewed part of right locations")}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.rows_digest),
        metadata={
            **drawn,
            "dagster/row_count": read.frame.height,
            "files": read.n_files,
            "problems": dg.MetadataValue.json([str(problem) for problem in read.problems]),
            "contour on the right lesion": f"{summary.location} (published: {_PUBLISHED_LOCATION:.0%})",
            "contour right": str(summary.contour),
            "rejection right": str(summary.rejection),
            "answers to findings made anew since": summary.n_stale,
            "to fix": table_sample(summary.to_fix, limit=50),
        },
    )


def measured_weights(workspace: Workspace, config: ReadersConfig) -> ReaderWeights:
    """Weights of the readers by the labelled texts and the reviewers' answers, kept for the next curation."""
    lake = Lake(workspace.paths.lake)
    votes = labelled_votes(workspace.labelled(), config.readers, config.vocabulary)
    votes += votes_of_reviews(*(lake.read_table(name) for name in ("findings", "readings", "reviews")))
    weights = measured(votes, {reader.name: reader.version for reader in config.readers if may_vote(reader)})
    write_weights(workspace.paths.root, weights)
    return weights


@dg.asset(group_name="review", owners=CURATION_OWNERS, kinds={"csv"}, pool="llm")
def reader_scorecard(workspace: Workspace) -> dg.MaterializeResult:
    """Accuracy of each reader and of their consensus on labelled sentences: slice, SUV, wrong pairs accepted; and of
    each reader on these and on what reviewers have judged, by kind and language over time.
    """
    config = workspace.readers()
    consensus = workspace.settings().consensus
    if len(config.readers) > 1:
        weights = measured_weights(workspace, config)
        silent = {reader.name: 0.0 for reader in config.readers if not may_vote(reader)}
        consensus = consensus.changed(weights={**weights.weights, **silent, **consensus.weights})
    card = score(workspace.labelled(), config.readers, consensus, vocabulary=config.vocabulary)
    metadata: dict[str, Any] = {
        "figure": picture(
            scores_figure(rows_of_figure(card)), "What each reader reads, with 95 % intervals over the texts"
        ),
        "scores": table_sample(table_of_scores(card), limit=20),
        "by topic": table_sample(by_topic(card), limit=100),
        "not right": table_sample(not_right(card), limit=50),
    }
    lake = Lake(workspace.paths.lake)
    judged = reviewed_passages(*(lake.read_table(name) for name in ("sentences", "findings", "reviews")))
    errors = reader_errors([*workspace.labelled(), *judged], config.readers, config.vocabulary)
    history = recorded(workspace.paths.root, errors, date.today().isoformat())
    metadata["judged by reviewers"] = len(judged)
    for name, keys in (("over time", ()), ("kinds over time", ("kind",)), ("languages over time", ("language",))):
        metadata[name] = table_sample(over_time(history, *keys), limit=100)
    # Numbers of their own, so that the UI draws them over the runs.
    for row in card.scores.iter_rows(named=True):
        for name in ("both_right", "outcome_right", "wrong_accepted"):
            if row[name] is not None:
                metadata[f"{row['reader']}: {name}"] = float(row[name])
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(deps=[calibration], group_name="review", owners=CURATION_OWNERS, kinds={"parquet"})
def slice_conventions(workspace: Workspace) -> dg.MaterializeResult:
    """How well each way of counting slices explains the cohort's reports, the likelihood over SUV scale and slice
    offset, and what to write into petar.toml.
    """
    curation = workspace.curation()
    table = try_conventions(curation)
    advice = better_convention(curation) or "no other way of counting explains the reports better"
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.height,
            "rates": table_sample(table, limit=20),
            "advice": advice,
            "likelihood": picture(convention_figure(curation), "Log likelihood ratio by SUV scale and slice offset"),
        }
    )


review = dg.define_asset_job(
    "review",
    selection=dg.AssetSelection.assets(gallery, reviews, reader_scorecard, slice_conventions),
    description="The gallery, the reviewers' answers, the readers' scorecard and the slice conventions.",
)

JOBS = [review]
