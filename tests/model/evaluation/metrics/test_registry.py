"""The registry: rows of `scores` that keep their contract, with honest intervals, counts and gaps."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from model.evaluation import metrics
from model.evaluation.metrics import METRICS, metrics_version, published_scores, score, score_subsets, with_others
from model.evaluation.metrics.intervals import patient_weights
from pipelines.settings import ScoreSettings
from pipelines.tables import schemas

FAST = ScoreSettings(n_resamples=50)
TEXT = "Region: chest. Organ: lung. Laterality: left. SUVmax: 8.2. Slice: 77. Findings: Avid nodule in the lung."


def predictions(n: int = 6, **changes: Any) -> pl.DataFrame:
    rows = [
        {
            "finding_id": f"E{i}:a",
            "exam_id": f"E{i}",
            "patient_id": f"P{i // 2}",
            "split": "test",
            "model": "m",
            "text": TEXT if i % 2 else TEXT.replace("left", "right"),
            "reference": TEXT,
        }
        | changes
        for i in range(n)
    ]
    return schemas.frame("predictions", rows)


def row_of(scores: pl.DataFrame, metric: str) -> dict[str, Any]:
    return scores.filter(pl.col("metric") == metric).row(0, named=True)


class TestScore:
    def test_every_metric_has_a_row_that_keeps_the_contract(self) -> None:
        good, bad = schemas.validate("scores", score(predictions(), settings=FAST))
        assert good.filter(numbers="measured")["metric"].to_list() == list(METRICS)
        of_words = [name for name, metric in METRICS.items() if metric.is_of_words]
        for numbers in ("raw", "masked"):
            assert good.filter(numbers=numbers)["metric"].to_list() == of_words
        assert bad.is_empty()

    def test_accuracy_with_its_interval(self) -> None:
        row = row_of(score(predictions(), ["laterality"], FAST), "laterality")
        assert (row["value"], row["n"], row["status"]) == (0.5, 6, "computed")
        assert row["low"] == row["high"] == 0.5  # Every patient has one right and one wrong.

    def test_interval_holds_the_value(self) -> None:
        frame = predictions(40).with_columns(patient_id="P" + pl.int_range(40).cast(pl.String))
        row = row_of(score(frame, ["laterality"], FAST), "laterality")
        assert row["low"] < row["value"] < row["high"]

    def test_same_seed_gives_the_same_interval(self) -> None:
        assert score(predictions(), settings=FAST).equals(score(predictions()[::-1], settings=FAST))

    def test_missing_metric_is_not_computed_and_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(pairs: metrics.Pairs, settings: ScoreSettings) -> metrics.Computed:
            raise metrics.NotComputableError("needs the weights at /weights/bart")

        monkeypatch.setitem(METRICS, "BARTScore", metrics.Metric("BARTScore", missing, ""))
        row = row_of(score(predictions(), ["BARTScore"], FAST), "BARTScore")
        assert (row["status"], row["value"], row["note"]) == (
            "not computed",
            None,
            "needs the weights at /weights/bart",
        )

    def test_field_that_no_reference_has_is_not_computed(self) -> None:
        frame = predictions(reference="Avid focus.")
        assert row_of(score(frame, ["laterality"], FAST), "laterality")["status"] == "not computed"

    def test_models_and_splits_are_scored_apart(self) -> None:
        frame = pl.concat([predictions(), predictions(model="n"), predictions(split="val", model="n")])
        scores = score(frame, ["BLEU"], FAST)
        assert scores.filter(numbers="measured").select("model", "split").rows() == [
            ("m", "test"),
            ("n", "test"),
            ("n", "val"),
        ]

    def test_one_patient_has_no_interval(self) -> None:
        row = row_of(score(predictions(2), ["BLEU"], FAST), "BLEU")
        assert (row["low"], row["high"], row["note"]) == (None, None, "no interval: one patient")

    def test_unknown_metric_lists_the_known_ones(self) -> None:
        with pytest.raises(ValueError, match="got 'BLUE'"):
            score(predictions(), ["BLUE"])


class TestBadPredictions:
    @pytest.mark.parametrize(
        "error", [None, "empty prediction: a.csv, line 2", "no prediction: a.csv does not name it"]
    )
    def test_empty_text_is_wrong_and_counts(self, error) -> None:
        frame = pl.concat([predictions(4), predictions(1, finding_id="E9:a", text="  ", error=error)])
        row = row_of(score(frame, ["laterality"], FAST), "laterality")
        assert (row["n"], row["n_left_out"], row["value"]) == (5, 0, pytest.approx(0.4))

    def test_no_score_rises_where_answers_are_emptied(self) -> None:
        names = [name for name, metric in METRICS.items() if not metric.needs_model and name != "METEOR"]
        emptied = predictions().with_columns(text=pl.when(pl.col("finding_id") != "E1:a").then("text"))
        before, after = (score(frame, names, FAST) for frame in (predictions(), emptied))
        for old, new in zip(before.iter_rows(named=True), after.iter_rows(named=True), strict=True):
            if old["metric"] == "hallucinated":
                assert new["value"] > old["value"]
            elif old["value"] is not None:
                assert new["value"] < old["value"] or old["value"] == 0, old["metric"]
                assert new["n"] == old["n"]

    def test_two_predictions_for_a_lesion_are_both_kept_out(self) -> None:
        frame = pl.concat([predictions(4), predictions(1)])
        row = row_of(score(frame, ["laterality"], FAST), "laterality")
        assert row["n"] == 3
        assert "2 of lesions with two predictions (E0:a, E0:a)" in row["note"]

    def test_text_without_reference_is_named(self) -> None:
        frame = pl.concat([predictions(4), predictions(1, finding_id="E9:a", reference=None)])
        assert row_of(score(frame, ["BLEU"], FAST), "BLEU")["note"] == "left out: 1 without reference (E9:a)"

    def test_nothing_to_score_is_not_computed(self) -> None:
        row = row_of(score(predictions(2, reference=None), ["BLEU"], FAST), "BLEU")
        assert (row["status"], row["value"], row["n"]) == ("not computed", None, 0)

    def test_measured_text_counts_where_it_is_there(self) -> None:
        frame = predictions(text="nonsense", text_measured=TEXT)
        assert row_of(score(frame, ["BLEU"], FAST), "BLEU")["value"] == pytest.approx(1)
        as_generated = ScoreSettings(n_resamples=50, text_column="text")
        assert row_of(score(frame, ["BLEU"], as_generated), "BLEU")["value"] < 0.01

    def test_failed_text_is_counted_apart_from_an_empty_one(self) -> None:
        frame = pl.concat([predictions(4), predictions(1, finding_id="E9:a", text=None, error="no answer")])
        row = row_of(score(frame, ["laterality"], FAST), "laterality")
        assert (row["n"], row["n_left_out"], row["note"]) == (4, 1, "left out: 1 failed predictions (E9:a)")


class TestKindsOfNumbers:
    def test_raw_measured_and_masked_stand_apart(self) -> None:
        frame = predictions(4, text=TEXT.replace("8.2", "9.9"), text_measured=TEXT)
        values = dict(score(frame, ["BLEU"], FAST).select("numbers", "value").rows())
        assert values["measured"] == values["masked"] == pytest.approx(1)
        assert values["raw"] < 1

    def test_published_values_are_of_raw_numbers(self) -> None:
        assert set(published_scores()["numbers"]) == {"raw"}


class TestSubsets:
    def test_parts_have_rows_of_their_own(self) -> None:
        subsets = pl.DataFrame(
            {"finding_id": ["E0:a", "E1:a", "E0:a"], "subset": ["size: a", "size: b", "evidence: c"]}
        )
        scores = score_subsets(predictions(2), subsets, FAST).filter(metric="laterality")
        assert dict(scores.select("subset", "value").rows()) == {"size: a": 0.0, "size: b": 1.0, "evidence: c": 0.0}
        assert schemas.validate("scores", scores)[1].is_empty()


class TestWithOthers:
    def test_nearest_lesion_of_the_exam_comes_first(self) -> None:
        samples = schemas.frame(
            "samples",
            [
                {"sample_id": f"E0:{i}", "finding_id": f"E0:{i}", "exam_id": "E0", "kind": "finding", "target": i}
                for i in "abc"
            ],
        )
        places = {"a": 0.0, "b": 50.0, "c": -20.0}
        lesions = schemas.frame(
            "lesions",
            [
                {"finding_id": f"E0:{i}", "centroid_x_mm": x, "centroid_y_mm": 0.0, "centroid_z_mm": 0.0}
                for i, x in places.items()
            ],
        )
        asked = pl.concat([predictions(1, finding_id=f"E0:{i}") for i in "ad"])
        assert with_others(asked, samples, lesions)["others"].to_list() == [["c", "b"], []]


class TestPatientWeights:
    def test_lesions_of_a_patient_come_together(self) -> None:
        weights = patient_weights(["a", "b", "a", "c"], 200, 1)
        assert (weights[:, 0] == weights[:, 2]).all()
        drawn = weights[:, [0, 1, 3]].sum(axis=1)
        assert (drawn == 3).all()


class TestMetricsVersion:
    def test_changes_with_settings_and_with_what_is_there(self, tmp_path: Path) -> None:
        weights = tmp_path / "bart"
        settings = ScoreSettings(bartscore_model=weights)
        versions = [metrics_version(), metrics_version(ScoreSettings(seed=1)), metrics_version(settings)]
        weights.mkdir()
        versions.append(metrics_version(settings))
        assert len(set(versions)) == 4
        assert metrics_version(settings) == versions[-1]


class TestPublished:
    def test_rows_keep_the_contract_and_are_marked(self) -> None:
        good, bad = schemas.validate("scores", published_scores())
        assert (good.height, bad.height) == (40, 0)
        assert good["status"].unique().to_list() == ["published"]
        row = good.filter(model="PETAR-4B (paper)", metric="CIDEr").row(0, named=True)
        assert (row["value"], row["low"]) == (0.457, None)
