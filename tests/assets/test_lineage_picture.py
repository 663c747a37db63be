"""What the picture of the lineage shows."""

import pytest

from assets.definitions import build_defs
from assets.lineage_picture import ASIDE, edges, free_lane, lineage_figure
from tests.support.png import pixels


def test_every_asset_is_drawn_or_left_out_on_purpose() -> None:
    drawn = {name for edge in edges() for name in edge}
    known = {key.to_user_string() for key in build_defs().resolve_asset_graph().get_all_asset_keys()}
    assert drawn | ASIDE == known
    assert drawn & ASIDE == set()


class TestLineageFigure:
    def test_a_longer_chain_is_wider(self):
        short = pixels(lineage_figure([("a", "b")])).shape[1]
        long = pixels(lineage_figure([("a", "b"), ("b", "c"), ("c", "d")])).shape[1]
        assert long == pytest.approx(2 * short, rel=0.02)

    def test_a_shortcut_changes_nothing(self):
        chain = [("a", "b"), ("b", "c")]
        assert lineage_figure([*chain, ("a", "c")]) == lineage_figure(chain)

    def test_a_cycle_is_refused(self):
        with pytest.raises(ValueError, match="in a cycle"):
            lineage_figure([("a", "b"), ("b", "a")])


class TestFreeLane:
    """The height of a line of a lineage: rows of boxes lie one apart, a box is half as high."""

    def test_is_the_wanted_one_where_nothing_is_in_the_way(self):
        assert free_lane(2.0, (0, 3), [0.0, 1.0], []) == 2.0

    def test_lies_between_the_boxes_that_are_passed(self):
        lane = free_lane(1.0, (0, 3), [0.0, 1.0, 2.0], [])
        assert min(abs(lane - box) for box in (0.0, 1.0, 2.0)) > 0.25

    def test_two_lines_of_the_same_columns_keep_apart(self):
        taken = []
        lanes = [free_lane(1.0, columns, [], taken) for columns in ((0, 3), (1, 4), (4, 6))]
        assert abs(lanes[0] - lanes[1]) > 0.05
        assert lanes[2] == lanes[0]
