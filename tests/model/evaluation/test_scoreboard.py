"""The scoreboard: every value with its interval and count, gaps named, published rows marked, models compared."""

import polars as pl
import pytest

from model.evaluation.metrics import published_scores, score, score_subsets
from model.evaluation.metrics.comparison import compare_all
from model.evaluation.scoreboard import scoreboard_page, who_is_ahead
from model.evaluation.scores import couples_of
from pipelines.settings import ScoreSettings
from pipelines.tables import schemas

FAST = ScoreSettings(n_resamples=50)
TEXT = "Region: chest. Organ: lung. Laterality: left. Findings: Avid nodule."


def predictions() -> pl.DataFrame:
    def row(model: str, n: int, text: str | None) -> dict[str, object]:
        keys = {"finding_id": f"E{n}:a", "exam_id": f"E{n}", "patient_id": f"P{n}", "split": "test", "model": model}
        return keys | {"text": text, "reference": TEXT, "error": None if text else "server gave no answer within 120 s"}

    good = [row("petar-tiny", n, TEXT) for n in range(20)]
    poor = [row("baseline: template", n, TEXT.replace("left", "right") if n else None) for n in range(20)]
    return schemas.frame("predictions", good + poor)


@pytest.fixture(scope="module")
def page() -> str:
    names = ["BLEU", "laterality", "BARTScore"]
    scores = score(predictions(), names, FAST).with_columns(cohort=pl.lit("ours"), data_version=pl.lit("v1"))
    compared = compare_all(predictions(), [("petar-tiny", "baseline: template")], names, FAST)
    return scoreboard_page(pl.concat([scores, published_scores()]), compared)


class TestScoreboardPage:
    def test_has_values_with_their_interval_and_count(self, page: str) -> None:
        assert "| petar-tiny | test | 20 | 1.000 [1.000, 1.000] |" in page
        assert "| baseline: template | test | 19 (1 left out) | 0.828 [0.828, 0.828] |" in page

    def test_published_values_stand_beside_raw_ones_alone(self, page: str) -> None:
        raw, _, rest = page.partition("Measured numbers in their place")
        assert "(paper)" in raw
        assert "| petar-tiny | test | 20 | 1.000" in raw
        assert "(paper)" not in rest.split("## Lesions")[0]

    def test_parts_of_the_lesions_have_a_table(self) -> None:
        subsets = pl.DataFrame({"finding_id": ["E0:a", "E1:a"], "subset": ["size: under 1 mL"] * 2})
        parts = score_subsets(predictions(), subsets, FAST)
        scores = pl.concat([score(predictions(), ["laterality"], FAST), parts]).with_columns(
            cohort=pl.lit("ours"), data_version=pl.lit("v1")
        )
        assert "| petar-tiny | test | size: under 1 mL | 2 |" in scoreboard_page(scores, schemas.empty("comparisons"))

    def test_says_how_many_were_left_out_and_why(self, page: str) -> None:
        assert "| baseline: template | test | 19 (1 left out) |" in page
        assert "1 failed predictions (E0:a)" in page

    def test_marks_the_published_rows(self, page: str) -> None:
        assert "| PETAR-4B (paper) | PETARSeg-11K test | 1175 | 0.535 |" in page

    def test_names_cohort_data_and_what_is_not_computed(self, page: str) -> None:
        assert "Cohort ours, data version v1." in page
        assert "- not computed: BARTScore (BARTScore needs the weights" in page

    def test_compares_models_on_what_both_described(self, page: str) -> None:
        assert "### petar-tiny against baseline: template (test)" in page
        assert "| laterality | **+1.000 [1.000, 1.000]** | 0.020 | 0.020 | 19 |" in page


class TestWhoIsAhead:
    def row(self, metric: str, difference: float, p_holm: float) -> dict[str, object]:
        keys = {"model": "petar-tiny", "other": "baseline: nearest lesion", "split": "test", "metric": metric}
        return keys | {"difference": difference, "p": p_holm, "p_holm": p_holm, "n": 120}

    def test_says_where_the_model_is_ahead_and_where_it_is_not(self) -> None:
        rows = [
            self.row("organ", 0.01, 0.9), self.row("region", 0.2, 0.01), self.row("BLEU", -0.1, 0.02),
            self.row("hallucinated", -0.2, 0.03),
        ]  # fmt: skip
        assert who_is_ahead(schemas.frame("comparisons", rows)) == [
            "- petar-tiny against baseline: nearest lesion (120 lesions): ahead in region, hallucinated; "
            "behind in BLEU; not told apart in organ."
        ]

    def test_stands_on_the_page(self, page: str) -> None:
        assert "- petar-tiny against baseline: template (19 lesions): ahead in BLEU, laterality." in page


class TestCouplesOf:
    def test_compares_all_models_and_arms_with_the_full_one(self) -> None:
        models = ["baseline: template", "ablation: all", "petar-tiny", "ablation: none", "medgemma"]
        assert couples_of(models) == [
            ("petar-tiny", "medgemma"),
            ("petar-tiny", "baseline: template"),
            ("medgemma", "baseline: template"),
            ("ablation: all", "ablation: none"),
        ]
