"""The model, its calibration, and the review list, on numbers of which the answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.proposals.calibration import LEAST_ANSWERS, LEAST_EXAMS, calibrated
from pipelines.proposals.model import Examples, ProposalModel, train
from pipelines.proposals.queue import RANDOM, RANDOM_RANGE, TOP, review_queue
from pipelines.settings import ProposalSettings
from pipelines.tables.candidate_features import FEATURES

SETTINGS = ProposalSettings()


def examples(n: int = 300, seed: int = 0) -> Examples:
    """Lesions have a high first feature; the second is never known."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, len(FEATURES)))
    features[:, 1] = np.nan
    return Examples(features, features[:, 0] > 0.5, np.ones(n))


class TestTheModel:
    @pytest.fixture(scope="class")
    def trained(self) -> Examples:
        return examples()

    @pytest.fixture(scope="class")
    def model(self, trained: Examples) -> ProposalModel:
        return train(trained)

    def test_ranks_what_it_has_not_seen_and_ends_equal_twice(self, trained: Examples, model: ProposalModel) -> None:
        other = examples(seed=1)
        p = model.probability(other.features)
        assert p[other.is_lesion].min() > np.quantile(p[~other.is_lesion], 0.9)
        assert np.array_equal(p, train(trained).probability(other.features))

    def test_version_follows_the_examples(self, trained: Examples) -> None:
        assert trained.version == examples().version
        changed = Examples(trained.features, ~trained.is_lesion, trained.weight)
        assert changed.version != trained.version

    def test_probabilities_are_those_of_exams_as_they_come(self, trained: Examples, model: ProposalModel) -> None:
        usual = Examples(trained.features, trained.is_lesion, trained.weight, share=0.01)
        before, after = (one.probability(trained.features) for one in (model, train(usual)))
        assert np.array_equal(np.argsort(before, kind="stable"), np.argsort(after, kind="stable"))
        odds = (after / (1 - after)) / (before / (1 - before))
        here = trained.is_lesion.mean()
        assert odds == pytest.approx((0.01 / 0.99) / (here / (1 - here)))
        assert usual.version != trained.version

    def test_without_a_lesion_there_is_none(self, trained: Examples) -> None:
        with pytest.raises(ValueError, match="expected lesions and others"):
            train(Examples(trained.features, np.zeros(len(trained), bool), trained.weight))


class TestCalibration:
    @staticmethod
    def answers(n: int, exams: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Lesions half as often as p says."""
        rng = np.random.default_rng(5)
        p = rng.uniform(0.05, 0.95, n)
        return p, rng.uniform(size=n) < p / 2, [f"E{k % exams}" for k in range(n)]

    def test_moves_probabilities_to_what_was_answered(self) -> None:
        p, is_lesion, exams = self.answers(4000, 40)
        made = calibrated(p, is_lesion, exams)
        assert made is not None
        high = p > 0.8
        assert made(p)[high].mean() == pytest.approx(is_lesion[high].mean(), abs=0.06)

    @pytest.mark.parametrize(("n", "exams"), [(LEAST_ANSWERS - 1, LEAST_EXAMS), (LEAST_ANSWERS, LEAST_EXAMS - 1)])
    def test_with_too_few_answers_there_is_none(self, n: int, exams: int) -> None:
        assert calibrated(*self.answers(n, exams)) is None
        assert calibrated(*self.answers(LEAST_ANSWERS, LEAST_EXAMS)) is not None


class TestTheReviewList:
    @given(st.lists(st.floats(0, 1), max_size=60))
    def test_is_short_and_draws_only_what_may_be_drawn(self, p: list[float]) -> None:
        names = [f"E:{n}" for n in range(len(p))]
        found = review_queue(names, p, p, SETTINGS)
        assert len(found) <= SETTINGS.most_an_exam
        by_name = dict(zip(names, p, strict=True))
        low, high = RANDOM_RANGE
        assert all(low <= by_name[name] <= high for name, how in found.items() if how == RANDOM)
        top = [by_name[name] for name, how in found.items() if how == TOP]
        assert all(value >= SETTINGS.least_p for value in top)
        assert len(top) <= 8
        left = [value for name, value in by_name.items() if name not in found]
        assert not top or not left or max(left) <= max(top)

    def test_eight_from_the_top_and_two_at_random(self) -> None:
        p = [0.9] * 12 + [0.2] * 20
        found = review_queue([f"E:{n:02d}" for n in range(32)], p, p, SETTINGS)
        assert sorted(found.values()) == [RANDOM] * 2 + [TOP] * 8

    def test_without_a_model_all_come_from_the_top(self) -> None:
        found = review_queue([f"E:{n:02d}" for n in range(30)], list(range(30)), None, SETTINGS)
        assert found == {f"E:{n:02d}": TOP for n in range(20, 30)}

    def test_the_first_of_each_group_goes_before_the_second_of_any(self) -> None:
        names, p = [f"E:{n:02d}" for n in range(30)], [0.9 - n / 100 for n in range(30)]
        groups = ["a tumour of many peaks"] * 20 + names[20:]
        found = review_queue(names, p, p, SETTINGS, groups)
        top = [name for name, how in found.items() if how == TOP]
        assert top == ["E:00", *(f"E:{n}" for n in range(20, 27))]
        few = review_queue(names[:22], p[:22], None, SETTINGS, groups[:22])
        assert list(few) == ["E:00", "E:20", "E:21", *(f"E:{n:02d}" for n in range(1, 8))]
