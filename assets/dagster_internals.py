"""What the project uses of Dagster beyond its public API, imported nowhere else.

An upgrade of Dagster that changes any of it fails tests/assets/test_dagster_internals.py.
"""

# A storage, like every class that dagster.yaml names, is a ConfigurableClass made from ConfigurableClassData; the
# public API has no base class for one.
from dagster._core.instance.utils import RUNLESS_RUN_ID

# Types of the public RunLauncher's methods, exported by no public module.
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.storage.base_storage import DagsterStorage

# The SQLite storages are subclassed: as they are, each event opens its file anew and compiles its statements anew.
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

# Tags that Dagster sets or reads: of a run that the daemon launched, and of a run over a range of partitions.
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    GRPC_INFO_TAG,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "GRPC_INFO_TAG",
    "RUNLESS_RUN_ID",
    "SQLITE_BUSY_TIMEOUT_SECONDS",
    "CheckRunHealthResult",
    "ConfigurableClass",
    "ConfigurableClassData",
    "DagsterSqliteStorage",
    "DagsterStorage",
    "LaunchRunContext",
    "SqliteEventLogStorage",
    "SqliteRunStorage",
    "WorkerStatus",
]
