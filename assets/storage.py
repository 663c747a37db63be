"""Where Dagster keeps runs and events: SQLite below PETAR_DAGSTER, or PostgreSQL where PETAR_POSTGRES_URL names one.

dagster.yaml names `Storage` here, because a static file cannot choose. Every process of Dagster loads this module, so
it imports nothing of the project.
"""

import os
from typing import Any, TypedDict

from dagster import StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

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
        return DagsterSqliteStorage.from_local(sqlite_dir)
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
