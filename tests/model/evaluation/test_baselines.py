"""Baselines: what they copy, what they measure, and that they never read the text that they are scored on."""

from typing import Any

import polars as pl
import pytest

from model.evaluation.baselines import NEAREST, TEMPLATE, NoTrainingLesionsError, nearest_neighbour, template
from pipelines.dataset.samples import compose
from pipelines.tables import schemas


def tables(*lesions: dict[str, Any]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    samples, found, exams = [], [], []
    for n, lesion in enumerate(lesions):
        keys = {"exam_id": f"E{n}", "patient_id": f"P{n}"}
        values = {"region": "chest", "organ": "lung", "suvmax": 8.0, "slice": 40, "split": "train"} | lesion
        fields = {name: values[name] for name in ("region", "organ", "suvmax", "slice")}
        sample = keys | fields | {"sample_id": f"E{n}:a", "finding_id": f"E{n}:a", "kind": "finding", "question": "q"}
        sample |= {
            "split": values["split"],
            "target": compose(fields),
            "suv_path": "s",
            "mask_path": "m",
            "mask_label": 1,
        }
        samples.append(sample)
        place = {"centroid_x_mm": values.get("x"), "centroid_y_mm": 0.0, "centroid_k": values.get("k", 50.0)}
        found.append(keys | place | {"row_key": "k", "finding_id": f"E{n}:a", "outcome": "lesion", "mtv_ml": 3.0})
        exams.append(keys | {"row_key": "k", "status": "ok", "shape_k": 100})
    return schemas.frame("samples", samples), schemas.frame("lesions", found), schemas.frame("exams", exams)


LUNG = {"organ": "lung", "k": 60.0, "x": -50.0}
LIVER = {"organ": "liver", "region": "abdomen", "k": 30.0, "x": 60.0}


class TestNearestNeighbour:
    def test_copies_the_text_of_the_nearest_training_lesion(self) -> None:
        asked = {"split": "test", "organ": "unknown", "k": 32.0, "x": 55.0, "suvmax": 9.5, "slice": 71}
        frame = nearest_neighbour(*tables(LUNG, LIVER, asked))
        row = frame.row(0, named=True)
        assert (row["model"], row["finding_id"], row["checkpoint"]) == (NEAREST, "E2:a", "E1:a")
        assert "Organ: liver." in row["text"]
        assert "SUVmax: 9.5. Slice: 71." in row["text_measured"]
        assert "Organ: unknown." in row["reference"]

    def test_size_of_the_neighbour_is_replaced_by_the_measured_one(self) -> None:
        samples, lesions, exams = tables(LUNG, {"split": "test"})
        samples = samples.with_columns(target=pl.lit("Findings: nodule of 31 mm with SUVmax 8.0."))
        lesions = lesions.with_columns(diameter_mm=pl.lit(17.4))
        assert "nodule of 17 mm with" in nearest_neighbour(samples, lesions, exams)["text_measured"][0]

    def test_held_out_lesions_are_never_copied(self) -> None:
        asked = LIVER | {"split": "test"}
        frame = nearest_neighbour(*tables(LUNG, LIVER | {"split": "val"}, asked))
        assert frame["checkpoint"].unique().to_list() == ["E0:a"]

    def test_lesion_without_place_gets_a_text(self) -> None:
        frame = nearest_neighbour(*tables(LUNG, LIVER, {"split": "test", "k": None}))
        assert frame["text"].null_count() == 0

    def test_nothing_to_copy_from(self) -> None:
        with pytest.raises(NoTrainingLesionsError, match="got none of 1"):
            nearest_neighbour(*tables({"split": "test"}))


class TestTemplate:
    def test_measures_and_says_the_commonest_place(self) -> None:
        asked = {"split": "val", "organ": "bone", "x": 42.0, "suvmax": 9.46, "slice": 71}
        row = template(*tables(LUNG, LUNG, LIVER, asked)).row(0, named=True)
        assert (row["model"], row["split"]) == (TEMPLATE, "val")
        assert row["text"] == (
            "Region: chest. Organ: lung. Laterality: right. SUVmax: 9.5. Slice: 71. "
            "Findings: Focal uptake in the right lung with an SUVmax of 9.5 on slice 71."
        )

    def test_midline_has_no_side(self) -> None:
        row = template(*tables(LUNG, {"split": "test", "x": 2.0})).row(0, named=True)
        assert "Laterality" not in row["text"]

    def test_rows_keep_the_contract(self) -> None:
        both = [f(*tables(LUNG, {"split": "test"}, {"split": "val"})) for f in (template, nearest_neighbour)]
        good, bad = schemas.validate("predictions", pl.concat(both))
        assert (good.height, bad.height) == (4, 0)
