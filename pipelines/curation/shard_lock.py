"""The lock of a shard."""

from contextlib import AbstractContextManager

from pipelines.tables.home import Home
from pipelines.tables.locks import lock
from pipelines.tables.shards import shard_name


def shard_lock(home: Home, shard: int) -> AbstractContextManager[None]:
    """One writer of a shard at a time: a second one waits, and then finds what the first has done."""
    return lock(home.root / "locks" / shard_name(shard))
