"""Schemas, lake, home, outcomes, hashes, atomic files, shards."""
