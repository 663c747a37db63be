"""Ground: schemas, lake, home, outcomes, hashes, atomic files, shards."""
