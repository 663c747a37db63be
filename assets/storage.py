"""Where Dagster keeps runs and events: SQLite below PETAR_DAGSTER (default PETAR_HOME/dagster, PETAR_HOME by default
./data), or PostgreSQL where PETAR_POSTGRES_URL names one.

dagster.yaml names `Storage` here, because a static file cannot choose. Every process of Dagster loads this module, so
of the project it imports the locks alone.
"""

import contextlib
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool, StaticPool

from assets.dagster_internals import (
    RUNLESS_RUN_ID,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    ConfigurableClass,
    ConfigurableClassData,
    DagsterSqliteStorage,
    DagsterStorage,
    SqliteEventLogStorage,
    SqliteRunStorage,
)
from pipelines.tables.locks import lock

POSTGRES_URL = "PETAR_POSTGRES_URL"
"""The variable that names a PostgreSQL database, as postgresql://user:password@host:5432/database."""


class StorageError(ValueError):
    """PETAR_POSTGRES_URL cannot be used; the message says what was expected and what to do."""


class Storage(DagsterStorage, ConfigurableClass):
    """What dagster.yaml names; loading it gives Dagster's own storage of the kind that the environment asks for."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: a variable that is not set must not keep `dg` from starting."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, object]
    ) -> DagsterStorage:
        """PostgreSQL where PETAR_POSTGRES_URL is set, else SQLite.

        Raises:
            StorageError: the variable holds no PostgreSQL URL, or dagster-postgres is not installed.
        """
        folder = os.environ.get("PETAR_DAGSTER") or Path(os.environ.get("PETAR_HOME") or "data").absolute() / "dagster"
        return choose_storage(os.environ.get(POSTGRES_URL, ""), str(folder))


def choose_storage(url: str, sqlite_dir: str) -> Any:
    """Dagster's storage at a PostgreSQL URL, in SQLite below a folder where the URL is empty.

    Raises:
        StorageError: no PostgreSQL URL, or dagster-postgres is not installed.
    """
    if not url:
        return _sqlite(sqlite_dir)
    if not url.startswith(("postgresql://", "postgresql+psycopg2://")):
        raise StorageError(
            f"{POSTGRES_URL}: expected postgresql://user:password@host:5432/database, got {url.split('@')[-1]!r}: "
            "fix the variable, or unset it to store in SQLite"
        )
    try:
        from dagster_postgres import DagsterPostgresStorage
    except ImportError as error:
        raise StorageError(
            f"{POSTGRES_URL} is set, but dagster-postgres is missing: pip install petar[postgres]"
        ) from error
    return DagsterPostgresStorage(url)


class _Engines:
    """Engines of SQLite files, each with its connection kept open and what it compiled remembered.

    Dagster makes an engine for every event: all its statements are compiled anew, and the last connection to close
    moves the whole log of changes into the file. With engines that stay a run costs a fifth.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_url: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, url: str) -> Engine:
        """The engine of a file; the one that was used least lately closes where there are too many."""
        with self._lock:
            engine = self._by_url.pop(url, None) or create_engine(
                url, poolclass=QueuePool, max_overflow=-1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
            )
            self._by_url[url] = engine
            if len(self._by_url) > self._most:
                self._by_url.popitem(last=False)[1].dispose()
            return engine

    def forget(self, url: str) -> None:
        """Closes the engine of a file that may be another one now."""
        with self._lock:
            if engine := self._by_url.pop(url, None):
                engine.dispose()

    def dispose(self) -> None:
        """Closes all."""
        with self._lock:
            while self._by_url:
                self._by_url.popitem()[1].dispose()


class _Runs(SqliteRunStorage):
    """Dagster's SQLite of runs, with an engine that stays."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string, inst_data)
        self._engines = _Engines(most=1)

    @contextlib.contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._engines.of(self._conn_string).begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._engines.dispose()
        super().dispose()


class _Events(SqliteEventLogStorage):
    """Dagster's SQLite of events, a file a run and an index, with engines that stay."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # The index is asked at every event, so it is never the one that closes.
        self._engines = _Engines(most=8)
        self._tables: set[str] = set()
        self._indexed = False
        self._empty: Engine | None = None
        super().__init__(base_dir, inst_data)

    @contextlib.contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            url = self.conn_string_for_shard(shard)
            if shard not in self._initialized_dbs:
                # The first time, or all was wiped: then an open connection would write into a file that is gone.
                self._engines.forget(url)
                self._initdb(self._engines.of(url))
                self._initialized_dbs.add(shard)
            with self._engines.of(url).begin() as connection:
                yield connection

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        """A file's tables. A run's new file is filled from an empty one in memory: made table by table on the disk it
        waits for it some thirty times, half a second of each run.
        """
        path = Path(engine.url.database or "")
        # Events of no run go to a file that two processes may make at once; that is for Dagster to settle.
        if not for_index_shard and path.name != f"{RUNLESS_RUN_ID}.db" and _is_made(path):
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute("PRAGMA journal_mode=WAL")
                self._blank().backup(connection)
            return
        super()._initdb(engine, for_index_shard)

    def _blank(self) -> sqlite3.Connection:
        """A file of events without any, in memory."""
        if self._empty is None:
            engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
            super()._initdb(engine)
            self._empty = engine
        connection = self._empty.raw_connection().driver_connection
        assert isinstance(connection, sqlite3.Connection)
        return connection

    def has_table(self, table_name: str) -> bool:
        # Tables and columns come by an upgrade and never go.
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        self._indexed = self._indexed or super()._has_asset_key_index_cols_on_connection(conn)
        return self._indexed

    def dispose(self) -> None:
        super().dispose()
        self._engines.dispose()


def _is_made(path: Path) -> bool:
    """Whether a file was not there and now is, an empty one."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class _LocalStorage(DagsterSqliteStorage):
    """Dagster's SQLite over engines that stay."""

    _run_storage: SqliteRunStorage
    _event_log_storage: SqliteEventLogStorage

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._run_storage = _Runs(self._run_storage._conn_string)
        self._event_log_storage = _Events(self._event_log_storage._base_dir)


def _sqlite(folder: str) -> DagsterSqliteStorage:
    if not event.contains(Engine, "connect", _write_without_waiting):
        event.listen(Engine, "connect", _write_without_waiting)
    with _one_at_a_time(Path(folder)):
        return _LocalStorage.from_local(folder)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Whoever else opens the storage waits: two that made the tables of a new home at once would hinder each other."""
    with contextlib.ExitStack() as stack:
        # A disk that is full or read-only; the storage itself says so if it matters.
        with contextlib.suppress(OSError):
            stack.enter_context(lock(folder / "opening.lock"))
        yield


def _write_without_waiting(connection: object, record: object) -> None:
    """Leaves it to the system when an event reaches the disk. A killed process loses none; a power failure may lose the
    last events, never a row: the lake waits for the disk.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=NORMAL")
