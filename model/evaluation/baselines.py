"""Baselines that need no weights, so that a score has something to stand beside: the nearest training lesion, and a
template.

Both know of a held-out lesion what was measured on its mask and never a word of its report.
"""

import numpy as np
import polars as pl

from model.evaluation.predictions import HELD_OUT
from model.inputs.numbers import measured_of, put_in_measured
from pipelines.dataset import samples as texts
from pipelines.tables import schemas

NEAREST = "baseline: nearest lesion"
TEMPLATE = "baseline: template"
MIDLINE_MM = 10.0
"""A lesion this close to x = 0 belongs to no side."""

_FEATURES = ("x_mm", "y_mm", "height", "log_suvmax", "log_volume")
_WEIGHTS = (1.0, 0.5, 3.0, 0.5, 0.5)
"""Where a lesion lies says more of its text than how hot or large it is; the height in the body says most."""


class NoTrainingLesionsError(ValueError):
    """A baseline has nothing to copy from."""


def nearest_neighbour(samples: pl.DataFrame, lesions: pl.DataFrame, exams: pl.DataFrame) -> pl.DataFrame:
    """Rows of `predictions`: for every held-out finding the text of the training lesion nearest to it by place,
    SUVmax and volume.

    `samples`, `lesions` (localisations) and `exams` are rows of these tables. `text` is the neighbour's,
    `text_measured` the
    same with the lesion's own numbers. Raises NoTrainingLesionsError where no finding is in the split train.
    """
    frame = _measured(samples, lesions, exams)
    train, held_out = _parts(frame)
    known, asked = _features(train, train), _features(held_out, train)
    rows = []
    for row, point in zip(held_out.iter_rows(named=True), asked, strict=True):
        nearest = int(np.argmin(((known - point) ** 2).sum(axis=1)))
        neighbour = train["target"][nearest]
        measured = put_in_measured(neighbour, measured_of(row))
        rows.append(_prediction(row, NEAREST, neighbour, measured, train["finding_id"][nearest]))
    return schemas.frame("predictions", rows)


def template(samples: pl.DataFrame, lesions: pl.DataFrame, exams: pl.DataFrame) -> pl.DataFrame:
    """Rows of `predictions`: one sentence with the measured numbers, the side by the affine, and the commonest
    place in training.

    What a model must beat to show that it learned more than to measure. Raises NoTrainingLesionsError as
    `nearest_neighbour` does.
    """
    train, held_out = _parts(_measured(samples, lesions, exams))
    place = {name: _commonest(train[name]) for name in ("region", "organ")}
    rows = []
    for row in held_out.iter_rows(named=True):
        side = side_of(row["centroid_x_mm"])
        where = " ".join(words for words in (side, place["organ"] or place["region"]) if words)
        values = {"suvmax": row["suvmax"], "slice": row["slice"]}
        findings = f"Focal uptake in the {where}" if where else "Focal uptake"
        findings += f" with an SUVmax of {row['suvmax']:.1f}" if row["suvmax"] is not None else ""
        findings += f" on slice {row['slice']}." if row["slice"] is not None else "."
        text = texts.compose(place | values | {"laterality": side, "findings": findings})
        rows.append(_prediction(row, TEMPLATE, text, text, "template"))
    return schemas.frame("predictions", rows)


def _measured(samples: pl.DataFrame, lesions: pl.DataFrame, exams: pl.DataFrame) -> pl.DataFrame:
    """Findings among the samples with what was measured on their masks, sorted by finding."""
    measures = ("mtv_ml", "suvmean", "suvpeak", "diameter_mm")
    places = lesions.select("finding_id", "centroid_x_mm", "centroid_y_mm", "centroid_k", *measures)
    heights = exams.select("exam_id", "shape_k")
    return (
        samples.filter(pl.col("kind") == "finding")
        .join(places, on="finding_id", how="left")
        .join(heights, on="exam_id", how="left")
        .with_columns(
            x_mm=pl.col("centroid_x_mm"),
            y_mm=pl.col("centroid_y_mm"),
            height=100 * pl.col("centroid_k") / pl.col("shape_k"),
            log_suvmax=pl.col("suvmax").log(),
            log_volume=pl.col("mtv_ml").log(),
        )
        .sort("finding_id")
    )


def _parts(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    train = frame.filter(pl.col("split") == "train")
    if train.is_empty():
        raise NoTrainingLesionsError(
            f"expected lesions in the split train, got none of {frame.height}: curate more patients or lower the "
            f"shares of val and test"
        )
    return train, frame.filter(pl.col("split").is_in(HELD_OUT))


def _features(rows: pl.DataFrame, train: pl.DataFrame) -> np.ndarray:
    """Features in units of their spread in training, weighted; what is unknown is the training median."""
    columns = []
    for name, weight in zip(_FEATURES, _WEIGHTS, strict=True):
        reference = train[name].cast(pl.Float64).to_numpy()
        reference = reference[np.isfinite(reference)]
        middle = float(np.median(reference)) if reference.size else 0.0
        spread = float(reference.std()) if reference.size > 1 else 0.0
        values = rows[name].cast(pl.Float64).to_numpy()
        columns.append(weight * (np.where(np.isfinite(values), values, middle) - middle) / (spread or 1.0))
    return np.stack(columns, axis=1)


def _commonest(values: pl.Series) -> str | None:
    there = values.drop_nulls()
    # Ties go by the alphabet, so that the baseline does not change with the order of the rows.
    counted = there.value_counts().sort("count", values.name, descending=[True, False])
    return counted[values.name][0] if len(there) else None


def side_of(x_mm: float | None) -> str | None:
    """`left` or `right` of a position to the patient's right (RAS); None on the midline and where nothing is known."""
    if x_mm is None or abs(x_mm) <= MIDLINE_MM:
        return None
    return "left" if x_mm < 0 else "right"


def _prediction(row: dict[str, object], model: str, text: str, measured: str, source: str) -> dict[str, object]:
    kept = {name: row[name] for name in ("finding_id", "exam_id", "patient_id", "split")}
    return kept | {
        "model": model,
        "text": text,
        "text_measured": measured,
        "reference": row["target"],
        "checkpoint": source,
    }
