"""Prints the result of a query of sql/queries: python -m pipelines.catalog.query NAME [--home DIR] [--list]."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipelines.catalog.build import CatalogError, list_queries, run_query
from pipelines.tables.home import Home


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 1 with a message where there is no such query or no catalog."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.catalog.query", description="Run a query of sql/queries on the catalog."
    )
    parser.add_argument("name", nargs="?", help="name of the query, a file of sql/queries without .sql")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("PETAR_HOME", "data")), help="PETAR_HOME")
    parser.add_argument("--list", action="store_true", help="list the queries")
    parser.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    parser.add_argument("--version", help="a version of the curation, or a name it was accepted under (default: now)")
    options = parser.parse_args(arguments)
    queries = list_queries()
    if options.list or options.name is None:
        width = max(map(len, queries), default=0)
        return _print("\n".join(f"{name:<{width}}  {comment}" for name, comment in queries.items()))
    try:
        result = run_query(Home(options.home), options.name, version=options.version)
    except CatalogError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return _print(
        result.write_csv().rstrip("\n") if options.csv else f"{queries[options.name]}\n\n{table_text(result)}"
    )


def _print(text: str) -> int:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def table_text(frame: pl.DataFrame) -> str:
    """The whole frame as text: every row, every column, no types, no frame around."""
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=200,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_formatting="ASCII_MARKDOWN",
        float_precision=2,
    ):
        return str(frame)


if __name__ == "__main__":
    sys.exit(main())
