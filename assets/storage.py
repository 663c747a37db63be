"""Where Dagster keeps runs and events: SQLite below PETAR_DAGSTER, or PostgreSQL where PETAR_POSTGRES_URL names one.

dagster.yaml names `Storage` here, because a static file cannot choose. Every process of Dagster loads this module, so
it imports nothing of the project.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any, TypedDict

from dagster import StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from sqlalchemy import event
from sqlalchemy.engine import Engine

POSTGRES_URL = "PETAR_POSTGRES_URL"
"""The variable that names a PostgreSQL database, as postgresql://user:password@host:5432/database."""


class StorageError(ValueError):
    """PETAR_POSTGRES_URL cannot be used; the message says what was expected and what to do."""


class StorageConfig(TypedDict):
    """What dagster.yaml says."""

    sqlite_dir: str


class Storage(DagsterStorage, ConfigurableClass):
    """What dagster.yaml names; loading it gives Dagster's own storage of the kind that the environment asks for."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The folder of SQLite."""
        return {"sqlite_dir": StringSource}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData | None, config_value: StorageConfig
    ) -> DagsterStorage:
        """PostgreSQL where PETAR_POSTGRES_URL is set, else SQLite.

        Raises:
            StorageError: the variable holds no PostgreSQL URL, or dagster-postgres is not installed.
        """
        return choose_storage(os.environ.get(POSTGRES_URL, ""), config_value["sqlite_dir"])


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
            "mend the variable, or unset it to store in SQLite"
        )
    try:
        from dagster_postgres import DagsterPostgresStorage
    except ImportError as error:
        raise StorageError(
            f"{POSTGRES_URL} is set, but dagster-postgres is missing: pip install petar[postgres]"
        ) from error
    return DagsterPostgresStorage(url)


class _LocalStorage(DagsterSqliteStorage):
    """Dagster's SQLite with its index kept open.

    Dagster opens and closes a connection an event, and the last one to close moves the whole log of changes into the
    file: with one that stays open an event costs half.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        names = ("history/runs.db", "history/runs/index.db")
        paths = [path for name in names if (path := Path(base_dir, name)).exists()]
        self._kept_open = [sqlite3.connect(path, check_same_thread=False) for path in paths]
        for connection in self._kept_open:
            # A connection opens its file when it is first used.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()


def _sqlite(folder: str) -> DagsterSqliteStorage:
    if not event.contains(Engine, "connect", _write_without_waiting):
        event.listen(Engine, "connect", _write_without_waiting)
    return _LocalStorage.from_local(folder)


def _write_without_waiting(connection: object, record: object) -> None:
    """Leaves it to the system when an event reaches the disk. A killed process loses none; a power failure may lose the
    last events, never a row: the lake waits for the disk.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=NORMAL")
