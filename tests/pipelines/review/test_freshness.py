"""Freshness of the cohort by its last observation and its newest file."""

from datetime import UTC, datetime, timedelta

from pipelines.cohort.observation import Observation
from pipelines.review.freshness import check_freshness
from pipelines.settings import QualitySettings

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def seen(days_ago: float, newest_days_ago: float) -> Observation:
    return Observation(NOW - timedelta(days=days_ago), NOW - timedelta(days=newest_days_ago), 3)


class TestFreshness:
    def test_a_cohort_looked_at_lately_passes_however_old_it_is(self) -> None:
        result = check_freshness(seen(7.9, 900), NOW, QualitySettings())
        assert (result.passed, result.n_checked) == (True, 1)

    def test_an_observation_too_long_ago_is_told_with_its_age(self) -> None:
        result = check_freshness(seen(12, 900), NOW, QualitySettings())
        assert result.sample.select("what", "age_days").rows() == [("last observation", 12.0)]

    def test_a_cohort_that_gets_nothing_new_is_told_where_a_limit_is_set(self) -> None:
        result = check_freshness(seen(1, 40), NOW, QualitySettings(max_exam_age_days=30))
        assert result.sample.select("what", "age_days", "most_days").rows() == [
            ("newest file of the cohort", 40.0, 30.0)
        ]
        assert check_freshness(seen(1, 20), NOW, QualitySettings(max_exam_age_days=30)).passed

    def test_a_home_that_observed_nothing_yet_has_nothing_to_be_stale(self) -> None:
        assert check_freshness(None, NOW, QualitySettings()).n_checked == 0
