"""Intervals of shares."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tables.statistics import wilson_interval


class TestWilsonInterval:
    @pytest.mark.parametrize(
        ("n_right", "n", "low", "high"),
        [(98, 100, 0.9300, 0.9945), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
    )
    def test_known_intervals(self, n_right, n, low, high):
        """The last is the example of Newcombe 1998 (Statistics in Medicine 17, 857), method 3."""
        assert wilson_interval(n_right, n) == pytest.approx((low, high), abs=6e-5)

    def test_nothing_counted_is_no_knowledge(self):
        assert wilson_interval(0, 0) == (0.0, 1.0)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_it_holds_the_share_and_mirrors(self, counts):
        n_right, n = counts
        low, high = wilson_interval(n_right, n)
        assert 0 <= low <= n_right / n + 1e-12
        assert n_right / n - 1e-12 <= high <= 1
        mirrored = wilson_interval(n - n_right, n)
        assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))

    def test_more_right_than_there_are_is_refused(self):
        with pytest.raises(ValueError, match=r"0\.\.3"):
            wilson_interval(4, 3)
