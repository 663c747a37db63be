"""The picture of the lineage in README.md, drawn from the definitions: python -m assets.lineage_picture."""

from pathlib import Path

from assets.definitions import build_defs
from pipelines.imaging.pictures import lineage_figure
from pipelines.tables import atomic

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "lineage.png"
ASIDE = {
    *("identifiers", "corrections", "slice_conventions", "accepted_curation", "curation_diff", "exports"),
    *("checkpoint_texts", "file_texts", "vlm_texts", "baseline_texts", "ablation", "reader_scorecard"),
}
"""Assets that the picture leaves out, so that the way from exams to the scoreboard can be seen in it."""


def edges() -> list[tuple[str, str]]:
    """(upstream, downstream) of all assets that are drawn, in the order in which they are made."""
    graph = build_defs().resolve_asset_graph()
    pairs = [
        (above.to_user_string(), key.to_user_string())
        for key in graph.toposorted_asset_keys
        for above in sorted(graph.get(key).parent_keys)
    ]
    return [pair for pair in pairs if not ASIDE & set(pair)]


if __name__ == "__main__":
    atomic.write_bytes(PICTURE, lineage_figure(edges()))
    print(PICTURE)
