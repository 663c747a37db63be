"""Which shard holds a patient. Sixty-four static shards, so that Dagster sees 64 partitions and never one per exam."""

from hashlib import blake2b

N_SHARDS = 64
"""Stored with every table and checked on reading; below 100, from where Dagster stops reporting staleness downstream.
"""


def shard_of(patient_id: str) -> int:
    """Shard (0..63) of a patient: blake2b of the id, so a patient never moves when the cohort grows."""
    return int.from_bytes(blake2b(patient_id.encode(), digest_size=8).digest()) % N_SHARDS


def shard_name(shard: int) -> str:
    """Partition key of a shard, zero-padded so that keys sort as numbers do: 7 -> "07"."""
    return f"{shard:02d}"


SHARD_NAMES = tuple(shard_name(i) for i in range(N_SHARDS))
