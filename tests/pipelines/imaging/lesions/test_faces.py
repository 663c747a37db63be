"""Face neighbours: the two ways of counting agree with each other and stop at the border."""

import numpy as np

from pipelines.imaging.lesions.faces import flat_step, stepped

SHAPE = (3, 4, 5)


class TestSteps:
    def test_are_the_six_neighbours(self):
        assert {stepped(1, 2, 3, side) for side in range(6)} == {
            (0, 2, 3),
            (2, 2, 3),
            (1, 1, 3),
            (1, 3, 3),
            (1, 2, 2),
            (1, 2, 4),
        }

    def test_in_flat_order_are_the_same_and_minus_one_outside(self):
        for at, ijk in enumerate(np.ndindex(SHAPE)):
            for side in range(6):
                a, b, c = stepped(*ijk, side)
                inside = 0 <= a < SHAPE[0] and 0 <= b < SHAPE[1] and 0 <= c < SHAPE[2]
                expected = (a * SHAPE[1] + b) * SHAPE[2] + c if inside else -1
                assert flat_step(at, side, *SHAPE) == expected
