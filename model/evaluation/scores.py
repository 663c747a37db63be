"""Scores of the predictions and comparisons of models, kept while neither the texts nor the metrics changed."""

import itertools
from collections.abc import Iterable

import polars as pl

from model.evaluation.metrics import comparison as comparison_module
from model.evaluation.metrics import metrics_version, published_scores, score, score_subsets, with_others
from model.evaluation.metrics.comparison import compare_all
from model.evaluation.predictions import TableReport
from pipelines.settings import ScoreSettings
from pipelines.tables.curation_version import curation_version
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.provenance import code_version

ABLATION_PREFIX = "ablation: "
"""What the models of the ablation are called, followed by the condition."""
FULL_CONDITION = f"{ABLATION_PREFIX}all"


def update_scores(home: Home, settings: ScoreSettings = ScoreSettings(), cohort: str | None = None) -> TableReport:
    """Every metric of every model and split of the predictions, the published rows beside them, in the lake.

    `cohort` is the name that the rows carry. Where a judge did not answer for every pair the next call asks again.
    """
    lake = Lake(home.lake)
    made_from = {
        "predictions": lake.shard_version("predictions") or "",
        "logic": metrics_version(settings),
        "cohort": cohort,
        "data": curation_version(home),
    }
    meta = lake.shard_meta("scores")
    if meta is not None and meta.inputs.get("made_from") == made_from and not meta.inputs.get("incomplete"):
        return TableReport(lake.read_table("scores"), meta.rows_digest, 0, meta.n_rows)
    predictions = _with_places(lake)
    parts = score_subsets(
        predictions, subsets_of(lake.read_table("findings"), lake.read_table("lesions"), settings), settings
    )
    frame = pl.concat([score(predictions, settings=settings), parts]).with_columns(
        cohort=pl.lit(cohort, pl.String), data_version=pl.lit(made_from["data"], pl.String)
    )
    judged = frame.filter(pl.col("metric") == "GREEN", pl.lit(settings.green_url is not None))
    incomplete = judged.filter((pl.col("status") == "not computed") | pl.col("note").str.contains("not judged")).height
    curation = (lake.shard_inputs("predictions") or {}).get("curation")
    inputs = {"made_from": made_from, "incomplete": bool(incomplete), "curation": curation}
    written = lake.write_table("scores", pl.concat([frame, published_scores()]), inputs)
    return TableReport(lake.read_table("scores"), written.rows_digest, written.n_rows, 0)


def subsets_of(findings: pl.DataFrame, lesions: pl.DataFrame, settings: ScoreSettings) -> pl.DataFrame:
    """(finding_id, subset) of every lesion: what its text gave to locate it by, and its size."""
    edges = [float(edge) for edge in settings.size_edges_ml]
    labels = [
        f"under {edges[0]:g} mL",
        *(f"{a:g} to {b:g} mL" for a, b in itertools.pairwise(edges)),
        f"{edges[-1]:g} mL and more",
    ]
    evidence = findings.select("finding_id", subset=pl.format("evidence: {}", pl.col("text_evidence")))
    sizes = lesions.select(
        "finding_id",
        subset=pl.format("size: {}", pl.col("mtv_ml").cut(edges, labels=labels, left_closed=True).cast(pl.String)),
    )
    return pl.concat([evidence, sizes]).drop_nulls().unique().sort("finding_id", "subset")


def _with_places(lake: Lake) -> pl.DataFrame:
    predictions, samples, lesions = (lake.read_table(name) for name in ("predictions", "samples", "lesions"))
    # A lesion that nobody described has no reference: a model's text of it is no text to be scored.
    return with_others(predictions.drop_nulls("reference"), samples, lesions)


def update_comparisons(home: Home, settings: ScoreSettings = ScoreSettings()) -> TableReport:
    """Every couple of models that described the same lesions, by metric and split, in the lake."""
    lake = Lake(home.lake)
    # A judge's scores are compared by the answers that are kept; asking anew is for the scores.
    made_from = {
        "predictions": lake.shard_version("predictions") or "",
        "logic": hash_of(metrics_version(settings), code_version(comparison_module.__name__)),
        "scores": lake.shard_version("scores") or "",
    }
    meta = lake.shard_meta("comparisons")
    if meta is not None and meta.inputs.get("made_from") == made_from:
        return TableReport(lake.read_table("comparisons"), meta.rows_digest, 0, meta.n_rows)
    predictions = _with_places(lake)
    frame = compare_all(predictions, couples_of(predictions["model"].unique()), settings=settings)
    written = lake.write_table("comparisons", frame, {"made_from": made_from})
    return TableReport(lake.read_table("comparisons"), written.rows_digest, written.n_rows, 0)


def couples_of(models: Iterable[str]) -> list[tuple[str, str]]:
    """Which models are compared: all with all, and the ablation's conditions with the one that has everything.

    The paper's ablation asks what each part adds; every condition against every baseline would be tests that nobody
    asks for. PETAR's own model comes first in a couple, then the other models, the baselines last.
    """
    names = sorted(models, key=lambda name: (name.startswith("baseline"), not name.startswith("petar"), name))
    conditions = [name for name in names if name.startswith(ABLATION_PREFIX) and name != FULL_CONDITION]
    others = [name for name in names if not name.startswith(ABLATION_PREFIX)]
    return [
        *itertools.combinations(others, 2),
        *((FULL_CONDITION, condition) for condition in conditions if FULL_CONDITION in names),
    ]
