"""Paired comparison of two models: differences with their sign, tests that are honest under the null, Holm."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from model.evaluation.metrics import METRICS, score
from model.evaluation.metrics.comparison import compare, compare_all, holm
from pipelines.settings import ScoreSettings
from pipelines.tables import schemas

FAST = ScoreSettings(n_resamples=200)
RIGHT = "Region: chest. Organ: lung. Laterality: left. SUVmax: 8.2. Slice: 77. Findings: Avid nodule in the lung."
WRONG = RIGHT.replace("left", "right")


def predictions(model: str, right: list[bool], **changes: Any) -> pl.DataFrame:
    rows = [
        {"finding_id": f"E{i}:a", "exam_id": f"E{i}", "patient_id": f"P{i}", "split": "test", "model": model}
        | {"text": RIGHT if is_right else WRONG, "reference": RIGHT}
        | changes
        for i, is_right in enumerate(right)
    ]
    return schemas.frame("predictions", rows)


def row_of(frame: pl.DataFrame, metric: str) -> dict[str, Any]:
    return frame.filter(pl.col("metric") == metric).row(0, named=True)


class TestCompare:
    def test_better_model_has_a_positive_difference(self) -> None:
        both = pl.concat([predictions("a", [True] * 20), predictions("b", [True] * 5 + [False] * 15)])
        row = row_of(compare(both, "a", "b", "test", ["laterality"], FAST), "laterality")
        assert (row["difference"], row["n"]) == (0.75, 20)
        assert 0 < row["low"] < 0.75 < row["high"]
        assert row["p"] < 0.01

    def test_turned_around_it_is_negative(self) -> None:
        both = pl.concat([predictions("a", [True] * 20), predictions("b", [True] * 5 + [False] * 15)])
        row = row_of(compare(both, "b", "a", "test", ["laterality"], FAST), "laterality")
        assert row["difference"] == -0.75

    def test_same_texts_differ_by_nothing(self) -> None:
        both = pl.concat([predictions("a", [True, False] * 5), predictions("b", [True, False] * 5)])
        frame = compare(both, "a", "b", "test", ["BLEU", "CIDEr", "laterality"], FAST)
        assert frame["difference"].to_list() == pytest.approx([0, 0, 0])
        assert frame["p"].to_list() == [1, 1, 1]

    def test_holm_counts_the_metrics_on_which_the_two_differ(self) -> None:
        both = pl.concat([predictions("a", [True] * 20), predictions("b", [True] * 5 + [False] * 15)])
        # Both texts name one region, and neither a number.
        frame = compare(both, "a", "b", "test", ["region", "laterality", "comparison"], FAST)
        row = row_of(frame, "laterality")
        assert row["p_holm"] == row["p"] < 0.01
        assert [row_of(frame, name)["p_holm"] for name in ("region", "comparison")] == [1, 1]

    def test_holm_counts_the_metrics_of_one_question(self) -> None:
        both = pl.concat([predictions("a", [True] * 20), predictions("b", [True] * 13 + [False] * 7)])
        words = ["ROUGE-1", "ROUGE-L"]
        frame = compare(both, "a", "b", "test", [*words, "laterality"], FAST)
        of_words = sorted((row_of(frame, name) for name in words), key=lambda row: row["p"])
        assert of_words[0]["p_holm"] == pytest.approx(2 * of_words[0]["p"])
        assert row_of(frame, "laterality")["p_holm"] == row_of(frame, "laterality")["p"] < 0.05

    def test_difference_is_that_of_the_scores(self) -> None:
        both = pl.concat([predictions("a", [True] * 6), predictions("b", [True, False] * 3)])
        names = ["BLEU", "ROUGE-L", "CIDEr", "laterality"]
        scores = score(both, names, FAST).filter(numbers="measured").pivot(on="model", index="metric", values="value")
        compared = compare(both, "a", "b", "test", names, FAST)
        expected = (scores["a"] - scores["b"]).to_list()
        assert compared["difference"].to_list() == pytest.approx(expected)

    def test_only_shared_lesions_count(self) -> None:
        both = pl.concat([predictions("a", [True] * 8), predictions("b", [True] * 5)])
        assert row_of(compare(both, "a", "b", "test", ["BLEU"], FAST), "BLEU")["n"] == 5

    def test_nothing_shared(self) -> None:
        both = pl.concat([predictions("a", [True]), predictions("b", [True], finding_id="E9:z")])
        with pytest.raises(ValueError, match="both a and b described, got none"):
            compare(both, "a", "b", "test")

    def test_metric_without_weights_has_a_note_and_no_p(self) -> None:
        both = pl.concat([predictions("a", [True] * 3), predictions("b", [True] * 3)])
        row = row_of(compare(both, "a", "b", "test", ["BARTScore", "BLEU"], FAST), "BARTScore")
        assert (row["p"], row["p_holm"], "weights" in row["note"]) == (None, None, True)

    def test_every_metric_has_a_row(self) -> None:
        both = pl.concat([predictions("a", [True] * 3), predictions("b", [True] * 3)])
        assert compare(both, "a", "b", "test", settings=FAST)["metric"].to_list() == list(METRICS)

    def test_false_alarms_are_as_rare_as_they_say(self) -> None:
        rng = np.random.default_rng(5)
        p_values = []
        for _ in range(60):
            first, second = (rng.random(15) < 0.6).tolist(), (rng.random(15) < 0.6).tolist()
            both = pl.concat([predictions("a", first), predictions("b", second)])
            p_values.append(row_of(compare(both, "a", "b", "test", ["laterality"], FAST), "laterality")["p"])
        # More false alarms than this come by chance once in a thousand times.
        assert sum(p <= 0.1 for p in p_values) <= stats.binom.ppf(0.999, 60, 0.1)


class TestCompareAll:
    def test_equals_the_comparisons_one_by_one(self) -> None:
        three = pl.concat([predictions(m, [m != "b"] * 6 + [m == "c"] * 6) for m in "abc"])
        names = ["BLEU", "ROUGE-L", "CIDEr", "laterality"]
        together = compare_all(three, [("a", "b"), ("c", "b")], names, FAST)
        alone = pl.concat([compare(three, m, "b", "test", names, FAST) for m in "ac"])
        assert together.equals(alone)

    def test_models_without_a_lesion_in_common_have_no_row(self) -> None:
        both = pl.concat([predictions("a", [True]), predictions("b", [True], finding_id="E9:z")])
        assert compare_all(both, [("a", "b")], ["BLEU"], FAST).is_empty()

    def test_rows_keep_the_contract(self) -> None:
        both = pl.concat([predictions("a", [True] * 4), predictions("b", [False] * 4)])
        good, bad = schemas.validate("comparisons", compare_all(both, [("a", "b")], settings=FAST))
        assert (good.height, bad.height) == (len(METRICS), 0)


class TestHolm:
    def test_textbook_example(self) -> None:
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_never_over_one_and_none_for_none(self) -> None:
        assert holm([0.9, 0.8]) == [1, 1]
        assert holm([]) == []
