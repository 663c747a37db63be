"""What the project uses of Dagster beyond its public API, imported nowhere else.

An upgrade of Dagster that changes any of it fails tests/assets/test_dagster_internals.py.
"""

# Tags of an event of an asset, which Dagster's conditions and staleness read. A run that tells of many shards writes
# them itself, for the public results of an asset take one version for all of its partitions.
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
)

__all__ = [
    "CODE_VERSION_TAG",
    "DATA_VERSION_IS_USER_PROVIDED_TAG",
    "DATA_VERSION_TAG",
    "INPUT_DATA_VERSION_TAG_PREFIX",
    "INPUT_EVENT_POINTER_TAG_PREFIX",
]
