"""What a curation wrote, for comparisons to the byte."""

import hashlib
from pathlib import Path


def curated_files(home: Path) -> dict[str, str]:
    """Hash of every shard of a table, mask and volume of a home; whole tables are made by the publication."""
    found = [p for name in ("lake", "masks", "volumes") for p in (home / name).rglob("*") if p.is_file()]
    found = [p for p in found if p.name != "all.parquet"]
    return {str(p.relative_to(home)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}
