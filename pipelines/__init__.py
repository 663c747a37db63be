"""What happens between an exam with its report and a measured lesion: plain functions, no Dagster, no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipelines.catalog.library import OpenCuration


def open(
    home: str | Path, version: str | None = None, frames: Literal["polars", "pandas"] = "polars"
) -> "OpenCuration":
    """The published curation of a PETAR_HOME, to be read: `.lesions()`, `.view(name)`, `.query(name)`, `.sql(text)`.

    Args:
        home: its folder.
        version: a kept version, by its hash or the name that it was accepted under; None: the last one.
        frames: what these give, frames of polars or of pandas.

    Raises:
        CatalogError: nothing is published there, or there is no such version.
    """
    # Not at module level: every import of a module below would load DuckDB.
    from pipelines.catalog.library import open_curation_of

    return open_curation_of(home, version, frames)
