"""Figures of a study: equal to reference packages, honest about what is missing."""

from typing import Any

import krippendorff
import numpy as np
import polars as pl
import pytest
from scipy import stats

from model.evaluation.reader_study.cases import REPORT, Study
from model.evaluation.reader_study.figure import study_figure
from model.evaluation.reader_study.results import coincidences_of, ordinal_alpha, results_page, spearman, study_results
from pipelines.settings import ScoreSettings
from pipelines.tables import schemas

FAST = ScoreSettings(n_resamples=100)


def alpha(matrix: np.ndarray) -> float:
    return float(ordinal_alpha(coincidences_of(matrix), np.ones((1, len(matrix))))[0])


def ratings_matrix(seed: int, n: int = 40, readers: int = 5, missing: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 6, n)[:, None]
    matrix = np.clip(truth + rng.integers(-1, 2, (n, readers)), 1, 5).astype(float)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    return matrix


class TestOrdinalAlpha:
    @pytest.mark.parametrize("seed", range(6))
    def test_equals_the_reference_package(self, seed: int) -> None:
        matrix = ratings_matrix(seed, missing=0.15 * seed)
        expected = krippendorff.alpha(matrix.T, level_of_measurement="ordinal", value_domain=[1, 2, 3, 4, 5])
        assert alpha(matrix) == pytest.approx(expected, abs=1e-12)

    def test_weights_are_repetitions_of_units(self) -> None:
        matrix = ratings_matrix(1)
        drawn = np.random.default_rng(2).integers(0, 40, 40)
        weights = np.bincount(drawn, minlength=40)[None].astype(float)
        assert ordinal_alpha(coincidences_of(matrix), weights)[0] == pytest.approx(alpha(matrix[drawn]))

    def test_full_agreement_is_one_and_no_variation_has_none(self) -> None:
        assert alpha(np.repeat([[1.0], [3.0], [5.0]], 3, axis=1)) == 1
        assert np.isnan(alpha(np.full((4, 3), 2.0)))
        assert np.isnan(alpha(np.array([[1.0, np.nan], [2.0, np.nan]])))


class TestSpearman:
    @pytest.mark.parametrize("seed", range(4))
    def test_equals_the_reference_package(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, y = rng.random(60).round(1), rng.integers(1, 6, 60).astype(float)
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)

    def test_constant_has_none(self) -> None:
        assert np.isnan(spearman(np.ones(5), np.arange(5.0)))


def rated(study: Study, rate: Any) -> pl.DataFrame:
    """Ratings of every reader and text; `rate(case, author)` gives the three."""
    rows = []
    for case in study.cases:
        for reader in study.readers:
            for author in study.authors(reader, case).values():
                keys = {"case_id": case.case_id, "reader": reader, "author": author, "finding_id": case.finding_id}
                given = dict(zip(("anatomy", "interpretation", "utility"), rate(case, author), strict=True))
                about = {"patient_id": case.patient_id, "is_external": case.is_external}
                preference = None if case.report is None else "tie"
                rows.append(keys | given | about | {"preference": preference})
    return schemas.frame("ratings", rows)


def row_of(frame: pl.DataFrame, **keys: str) -> dict[str, Any]:
    return frame.filter(**keys).row(0, named=True)


class TestStudyResults:
    def test_means_and_preferences_with_intervals(self, study: Study) -> None:
        ratings = rated(study, lambda case, author: (5, 4, 3) if author == REPORT else (1 + case.is_external, 2, 3))
        results = study_results(ratings, study, FAST)
        mean = row_of(results, statistic="mean", subject=study.model, criterion="anatomy")
        assert mean["value"] == pytest.approx((30 * 1 + 6 * 2) / 36)
        assert mean["low"] <= mean["value"] <= mean["high"]
        assert mean["n"] == 36
        tie = row_of(results, statistic="preference", subject="tie")
        assert (tie["value"], tie["low"], tie["n"]) == (1, 1, 30)

    def test_metric_that_goes_with_the_readers(self, study: Study) -> None:
        # Half of the texts say the reference's side; so do the readers.
        said = {c.case_id: 5 if "left" in c.text else 1 for c in study.cases}
        results = study_results(rated(study, lambda case, author: (said[case.case_id],) * 3), study, FAST)
        assert row_of(results, statistic="spearman", subject="ROUGE-L", criterion="all")["value"] > 0.8
        assert row_of(results, statistic="spearman", subject="ROUGE-L", criterion="all")["n"] == 10
        alphas = results.filter(statistic="alpha")
        assert alphas["value"].to_list() == pytest.approx([1, 1, 1])

    def test_published_values_stand_beside_and_are_marked(self, study: Study) -> None:
        results = study_results(rated(study, lambda case, author: (3, 3, 3)), study, FAST)
        row = row_of(results, statistic="spearman", subject="GREEN (paper)")
        assert (row["value"], row["status"], row["low"]) == (0.592, "published", None)

    def test_what_cannot_be_computed_says_why(self, study: Study) -> None:
        results = study_results(rated(study, lambda case, author: (3, 3, 3)), study, FAST)
        assert "green_url" in row_of(results, statistic="spearman", subject="GREEN")["note"]
        assert row_of(results, statistic="alpha", criterion="anatomy")["status"] == "not computed"

    def test_left_out_values_do_not_count(self, study: Study) -> None:
        ratings = rated(study, lambda case, author: (None if case.case_id == "case-00" else 4, 4, 4))
        mean = row_of(study_results(ratings, study, FAST), statistic="mean", subject=study.model, criterion="anatomy")
        assert (mean["value"], mean["n"]) == (4, 33)

    def test_rows_keep_the_contract_and_make_a_page_and_a_figure(self, study: Study) -> None:
        results = study_results(rated(study, lambda case, author: (4, 3, 5)), study, FAST)
        good, bad = schemas.validate("agreement", results)
        assert bad.is_empty()
        page = results_page(results, study, ["1 files of ratings", "a.csv, line 3: left out"])
        for note, name in results.filter(status="not computed").select("note", "subject").rows():
            assert any(name in line and note in line for line in page.splitlines() if "not computed: " in line)
        assert "| report | 30 | 4.00 [4.00, 4.00] |" in page
        assert "- a.csv, line 3: left out" in page
        assert study_figure(good).startswith(b"\x89PNG")

    def test_no_rating_has_no_figure(self, study: Study) -> None:
        assert study_results(schemas.empty("ratings"), study, FAST).is_empty()
