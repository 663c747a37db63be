"""Order of floats from the highest down."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.imaging.lesions.descending import descending


class TestDescending:
    @given(st.lists(st.floats(-1024, 1024, width=32), max_size=60))
    def test_is_the_stable_order_of_a_comparison_sort(self, values: list[float]) -> None:
        array = np.array(values, np.float32) + np.float32(0.0)  # no negative zero
        assert descending(array).tolist() == np.argsort(-array, kind="stable").tolist()
