"""What the picture of the lineage shows."""

from assets.definitions import build_defs
from assets.lineage_picture import ASIDE, edges


def test_every_asset_is_drawn_or_left_out_on_purpose() -> None:
    drawn = {name for edge in edges() for name in edge}
    known = {key.to_user_string() for key in build_defs().resolve_asset_graph().get_all_asset_keys()}
    assert drawn | ASIDE == known
    assert drawn & ASIDE == set()
