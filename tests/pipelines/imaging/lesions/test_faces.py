"""Face neighbours of a voxel."""

from pipelines.imaging.lesions.faces import stepped


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
