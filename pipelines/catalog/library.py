"""A published curation as a library: its views and queries as frames of polars or pandas."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import polars as pl

from pipelines.catalog.build import CatalogError, connect, list_views, run_query
from pipelines.tables.errors import first_line
from pipelines.tables.home import Home

Frames = Literal["polars", "pandas"]


@dataclass(frozen=True)
class OpenCuration:
    """A published curation that is read, never written.

    Args:
        home: its PETAR_HOME.
        version: a kept version, by its hash or the name that it was accepted under; null: the last one, at each call.
        frames: what the methods give: `polars` or `pandas`.
    """

    home: Home
    version: str | None = None
    frames: Frames = "polars"

    def lesions(self) -> Any:
        """The view `lesions` as a frame: a row a lesion with its measures, its fields and its mask's path."""
        return self.view("lesions")

    def view(self, name: str) -> Any:
        """Any view as a frame: exams, reports, findings, lesions, samples, predictions, scores and so on.

        Raises:
            CatalogError: there is no such view, or nothing is published.
        """
        if name not in list_views():
            raise CatalogError(f"expected a view ({', '.join(list_views())}), got {name!r}: name one of them")
        return self.sql(f'SELECT * FROM "{name}"')

    def query(self, name: str) -> Any:
        """The answer of `sql/queries/NAME.sql` as a frame; `pipelines.catalog.build.list_queries` lists them.

        Raises:
            CatalogError: there is no such query, or nothing is published.
        """
        return self._frame(run_query(self.home, name, version=self.version))

    def sql(self, text: str) -> Any:
        """The answer of a SELECT on the catalog's views as a frame.

        Raises:
            CatalogError: DuckDB refuses it, or nothing is published.
        """
        with connect(self.home, self.version) as con:
            try:
                return self._frame(con.sql(text).pl())
            except duckdb.Error as error:
                raise CatalogError(f"expected a SELECT on the catalog, got: {first_line(error)}: correct it") from error

    def _frame(self, frame: pl.DataFrame) -> Any:
        if self.frames == "polars":
            return frame
        try:
            return frame.to_pandas()
        except ImportError:
            raise CatalogError(
                "expected pandas for frames = 'pandas', it is not installed: pip install pandas"
            ) from None


def open_curation_of(home: str | Path | Home, version: str | None = None, frames: Frames = "polars") -> OpenCuration:
    """The published curation of a home.

    Raises:
        CatalogError: nothing is published there, there is no such version, or `frames` is neither of the two.
    """
    if frames not in ("polars", "pandas"):
        raise CatalogError(f"expected frames of polars or pandas, got {frames!r}: name one of them")
    opened = OpenCuration(home if isinstance(home, Home) else Home(Path(home)), version, frames)
    connect(opened.home, version).close()
    return opened
