"""Version of a curation: the hash of its rows."""

from collections.abc import Iterable

from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, ShardMeta

CURATED = ("exams", "sentences", "readings", "findings", "peaks", "calibration", "lesions")
"""Tables that make a curation, in the order in which they are computed; all others derive from them."""


def version_of_rows(metas: Iterable[ShardMeta]) -> str:
    """Hash of the rows of all curated shards; an empty shard counts like one that was never written."""
    return hash_of({f"{m.table}/{m.shard}": m.rows_digest for m in metas if m.table in CURATED and m.n_rows})


def curation_version(home: Home) -> str:
    """Version of what the lake holds now."""
    lake = Lake(home.lake)
    found = [lake.shard_meta(table, path.stem) for table in CURATED for path in lake.files(table)]
    return version_of_rows(meta for meta in found if meta is not None)
