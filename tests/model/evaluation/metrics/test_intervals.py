"""Intervals: patients are drawn whole, and 95 % intervals hold the truth in 93 to 97 of 100 simulated cohorts."""

import numpy as np
import pytest
from scipy import stats

from model.evaluation.metrics.cider import cider_of
from model.evaluation.metrics.intervals import effective_patients, patient_swaps, patient_weights, percentile_interval
from model.evaluation.metrics.ngram import Bleu
from model.evaluation.metrics.pairs import Mean


def coverage(n_patients: int, n_cohorts: int, seed: int) -> float:
    """Share of simulated cohorts whose interval holds the true mean; lesions of a patient are alike, patients
    differ.
    """
    rng = np.random.default_rng(seed)
    held = 0
    for cohort in range(n_cohorts):
        sizes = rng.integers(1, 6, n_patients)
        patients = np.repeat(np.arange(n_patients), sizes).astype(str)
        shared = np.repeat(rng.normal(0, 1, n_patients), sizes)
        scores = Mean(0.5 + shared + rng.normal(0, 0.5, len(patients)), "simulated")
        values = scores.values(patient_weights(list(patients), 400, cohort))
        low, high = percentile_interval(values, 0.95, effective_patients(patients.tolist()))
        held += low <= 0.5 <= high
    return held / n_cohorts


class TestCoverage:
    @pytest.mark.parametrize("n_patients", [12, 40])
    def test_intervals_hold_the_truth_as_often_as_they_say(self, n_patients: int) -> None:
        assert 0.93 <= coverage(n_patients, 2000, n_patients) <= 0.97

    def test_drawing_lesions_would_be_too_narrow(self) -> None:
        rng = np.random.default_rng(0)
        patients = np.repeat(np.arange(30), 6).astype(str)
        scores = Mean(np.repeat(rng.normal(0, 1, 30), 6) + rng.normal(0, 0.3, 180), "simulated")
        of_patients = np.subtract(*percentile_interval(scores.values(patient_weights(list(patients), 400, 1)))[::-1])
        alone = [str(i) for i in range(180)]
        of_lesions = np.subtract(*percentile_interval(scores.values(patient_weights(alone, 400, 1)))[::-1])
        assert of_lesions < 0.6 * of_patients


class TestPatientWeights:
    def test_lesions_of_a_patient_come_together(self) -> None:
        weights = patient_weights(["a", "b", "a", "c"], 200, 1)
        assert (weights[:, 0] == weights[:, 2]).all()
        assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()

    def test_same_seed_same_weights(self) -> None:
        assert (patient_weights(["a", "b"], 5, 7) == patient_weights(["a", "b"], 5, 7)).all()


class TestPatientSwaps:
    def test_lesions_of_a_patient_are_swapped_together(self) -> None:
        swaps = patient_swaps(["a", "b", "a"], 100, 1)
        assert (swaps[:, 0] == swaps[:, 2]).all()
        assert 20 < (swaps[:, 0] != swaps[:, 1]).sum() < 80


class TestEffectivePatients:
    def test_patients_of_equal_size_all_count(self) -> None:
        assert effective_patients(["a", "a", "b", "b", "c", "c"]) == pytest.approx(3)

    def test_one_large_patient_counts_for_most(self) -> None:
        assert effective_patients(["a"] * 98 + ["b", "c"]) == pytest.approx(1.04, abs=0.01)


class TestPercentileInterval:
    def test_uncomputable_resamples_do_not_count(self) -> None:
        assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1, 1)
        assert percentile_interval(np.array([np.nan])) == (None, None)

    def test_few_patients_widen_it(self) -> None:
        values = np.linspace(0, 1, 1001)
        low, high = percentile_interval(values, 0.95, 5)
        assert low < 0.025 < 0.975 < high

    def test_many_patients_leave_the_percentiles(self) -> None:
        low, high = percentile_interval(np.linspace(0, 1, 1001), 0.95, 100_000)
        assert (low, high) == (pytest.approx(0.025, abs=1e-3), pytest.approx(0.975, abs=1e-3))


def corpus(rng: np.random.Generator, n: int) -> tuple[list[list[str]], list[list[str]]]:
    """Tokenized texts and references whose words are as unevenly common as those of a language."""
    words = np.array([f"w{i}" for i in range(300)])
    chances = 1 / np.arange(1, 301)
    chances /= chances.sum()
    references = [rng.choice(words, rng.integers(8, 20), p=chances).tolist() for _ in range(n)]
    kept = [rng.beta(2, 2) for _ in references]
    texts = [
        [w if rng.random() < share else str(rng.choice(words, p=chances)) for w in reference]
        for reference, share in zip(references, kept, strict=True)
    ]
    return texts, references


class TestCorpusMetric:
    def test_intervals_of_cider_hold_the_truth(self) -> None:
        rng, n, n_corpora = np.random.default_rng(0), 40, 120
        one = np.ones((1, n))
        truth = np.mean([cider_of(*corpus(rng, n)).values(one)[0] for _ in range(150)])
        held = 0
        for seed in range(n_corpora):
            computed = cider_of(*corpus(rng, n))
            values = computed.values(patient_weights([str(i) for i in range(n)], 150, seed))
            low, high = percentile_interval(values, 0.95, n, float(computed.values(one)[0]))
            held += low <= truth <= high
        # Fewer would come by chance once in a thousand times, were the intervals right.
        assert held >= stats.binom.ppf(0.001, n_corpora, 0.95)

    def test_interval_is_moved_by_the_bias(self) -> None:
        values = np.linspace(0.0, 1.0, 1001)
        assert percentile_interval(values, 0.95, None, 0.7) == (pytest.approx(0.225), pytest.approx(1.175))

    def test_is_resampled_as_a_corpus(self) -> None:
        statistics = np.array([[10, 10, 8, 6, 4, 2, 10, 9, 8, 7], [20, 10, 2, 1, 1, 1, 20, 19, 18, 17]], float)
        bleu = Bleu(np.array([0.5, 0.1]), statistics, "")
        both, first, second = bleu.values(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
        assert both != pytest.approx((first + second) / 2)
