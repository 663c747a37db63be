"""The generated pages of docs/: data-dictionary.md, queries.md, settings.md and petar.schema.json.

    python -m pipelines.catalog.dictionary [--docs DIR] [--home DIR]

With --home the page of the queries shows their results on that curation.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipelines.catalog.build import SQL_DIR, CatalogError, build_catalog, connect, list_queries, list_views, run_query
from pipelines.catalog.settings_page import settings_page, settings_schema
from pipelines.tables import atomic, schemas
from pipelines.tables.home import Home

MAX_ROWS = 20
_DOCS = Path(__file__).resolve().parents[2] / "docs"


def dictionary_page() -> str:
    """Every table of the lake with the contract of its columns, and every view of the catalog, as Markdown."""
    views = _views()
    lines = [
        "# Data dictionary",
        "",
        "Written from `pipelines/tables/schemas.py` and `sql/views/` by `python -m pipelines.catalog.dictionary`;",
        "a test holds it so.",
        "A row that breaks a constraint or a rule of its table goes to `quarantine` with the rule's name. The catalog",
        "holds the same text: `SELECT * FROM columns` in DuckDB, and the comments of tables and columns.",
        "",
        f"Sharded tables: {', '.join(f'`{t}`' for t in schemas.SHARDED)}.",
        "",
        "## Views of the catalog",
        "",
        "| view | what it shows |",
        "| --- | --- |",
        *(f"| `{name}` | {_cell(comment)} |" for name, comment, _ in views),
        "",
        "A view has the columns of the table of its name, with paths made absolute; columns that no such table has",
        "stand here.",
    ]
    for name, _, columns in views:
        own = {c.name for c in schemas.describe(name)} if name in schemas.TABLES else set()
        if added := {column: comment for column, comment in columns.items() if column not in own}:
            lines += ["", f"### {name}", "", "| column | description |", "| --- | --- |"]
            lines += [f"| `{column}` | {_cell(comment)} |" for column, comment in added.items()]
    for table in schemas.TABLES:
        lines += ["", f"## {table}", "", schemas.describe_table(table), ""]
        lines += [
            "| column | type | unit | null | constraints | description |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| `{c.name}` | {c.type} | {c.unit or ''} | {'yes' if c.nullable else 'no'} "
            f"| {_cell('; '.join(c.constraints))} | {_cell(c.description)} |"
            for c in schemas.describe(table)
        ]
        rules = schemas.rules_of(table)
        if rules:
            lines += ["", f"Rules over several columns: {', '.join(f'`{r}`' for r in rules)}."]
    return "\n".join(lines) + "\n"


def _views() -> list[tuple[str, str, dict[str, str]]]:
    """Name and comment of every view of a catalog, and its columns with theirs, in the order of sql/views."""
    with tempfile.TemporaryDirectory() as folder:
        build_catalog(Home(Path(folder)))
        with connect(Home(Path(folder))) as con:
            comments = dict(
                con.execute(
                    "SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
                ).fetchall()
            )
            rows = con.execute(
                "SELECT table_name, column_name, coalesce(comment, '') FROM duckdb_columns() "
                "WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index"
            ).fetchall()
    columns: dict[str, dict[str, str]] = {}
    for view, column, comment in rows:
        columns.setdefault(view, {})[column] = comment
    # What an empty catalog says of its diff is that there was nothing before.
    comments["curation_diff"] = list_queries()["curation_diff"]
    return [(name, comments[name], columns[name]) for name in [*list_views(), "curation_diff"]]


def queries_page(home: Home | None = None) -> str:
    """Every query of sql/queries with its comment and SQL, and with `home` its first rows on that curation, as
    Markdown.
    """
    lines = [
        "# Queries",
        "",
        "The questions that people ask of a curation, each in `sql/queries/`. `make query NAME=funnel` runs one,",
        "`make query` lists them; the same SQL runs at any DuckDB prompt on `petar.duckdb`, opened read-only. The rows",
        "below are the first of one run of `make demo`; `(no rows)`: that run had nothing of the kind. Columns are",
        "explained in [data-dictionary.md](data-dictionary.md).",
    ]
    for name, comment in list_queries().items():
        sql = (SQL_DIR / "queries" / f"{name}.sql").read_text()
        body = "\n".join(line for line in sql.splitlines() if not line.startswith("--")).strip()
        lines += ["", f"## {name}", "", comment]
        if home is not None:
            lines += ["", markdown_table(run_query(home, name))]
        lines += ["", "<details><summary>SQL</summary>", "", "```sql", body, "```", "", "</details>"]
    return "\n".join(lines) + "\n"


def markdown_table(frame: pl.DataFrame, max_rows: int = MAX_ROWS) -> str:
    """The first rows of a frame as a Markdown table, and how many more there are."""
    if frame.is_empty():
        return "(no rows)"
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * frame.width]
    lines += ["| " + " | ".join(_value(v) for v in row) + " |" for row in frame.head(max_rows).iter_rows()]
    if frame.height > max_rows:
        lines += ["", f"... {frame.height - max_rows} more rows"]
    return "\n".join(lines)


def _value(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return _cell(str(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 1 with a message where the catalog of --home can not be queried."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.catalog.dictionary", description="Write the pages of tables, queries and settings."
    )
    parser.add_argument("--docs", type=Path, default=_DOCS, help="folder to write to")
    parser.add_argument("--home", type=Path, help="PETAR_HOME whose curation the queries' page shows")
    options = parser.parse_args(arguments)
    try:
        pages = {
            "data-dictionary.md": dictionary_page(),
            "settings.md": settings_page(),
            "petar.schema.json": settings_schema(),
        }
        # Without a curation the page keeps the results that it shows.
        if options.home is not None or not (options.docs / "queries.md").exists():
            pages["queries.md"] = queries_page(Home(options.home) if options.home else None)
    except CatalogError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, text in pages.items():
        changed = atomic.write_bytes(options.docs / name, text.encode())
        print(f"{options.docs / name}: {'written' if changed else 'unchanged'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
