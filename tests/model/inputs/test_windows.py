import numpy as np
import pytest

from model.inputs.windows import Window


class TestWindow:
    def test_maps_clips_and_drops_what_is_no_number(self):
        values = np.array([[-2.0, 0.0, 6.0, 30.0, np.nan]])
        assert Window(0, 12)(values).tolist() == [[0.0, 0.0, 0.5, 1.0, 0.0]]

    def test_keeps_the_file_as_it_is(self):
        values = np.ones((2, 2), np.float32)
        Window(0, 2)(values)
        assert values.tolist() == [[1, 1], [1, 1]]


class TestWeighted:
    @pytest.mark.parametrize("dtype", ["f4", "i2", "u2", "f8", ">f4", "u1"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_is_the_window_under_the_weights(self, dtype, order):
        rng = np.random.default_rng(0)
        array = np.array(rng.uniform(0, 200, (9, 7, 6)), dtype, order=order)
        window, bounds = Window(20, 120), ((2, 8), (1, 7), (0, 5))
        weights = (rng.random((4, 6)) * (rng.random((4, 6)) > 0.5)).astype(np.float32)
        expected = np.einsum("oz,zyx->oyx", weights, window(array[2:8, 1:7, 0:5]))
        assert np.allclose(window.weighted(array, bounds, weights), expected, atol=1e-5)

    def test_what_is_no_number_is_nothing(self):
        array = np.array([np.nan, 5.0, np.inf, -np.inf], np.float32)[None, None]
        found = Window(0, 10).weighted(array, ((0, 1), (0, 1), (0, 4)), np.ones((1, 1), np.float32))
        assert found.ravel().tolist() == [0, 0.5, 1, 0]
