"""Where columns come from: every column is told, every source is there, and the SQL of the views agrees."""

import dataclasses
import re

import duckdb
import polars as pl
import pytest

from pipelines.catalog import column_lineage as lineage
from pipelines.catalog.build import SQL_DIR, list_views
from pipelines.cohort.manifest import ExamEntry
from pipelines.tables import schemas

COHORT_COLUMNS = {f.name for f in dataclasses.fields(ExamEntry)} | {"corrections"}
KEYS = {"exam_id", "finding_id", "sentence_id"}
OTHER = {pl.String: "'other'", pl.Int64: "77", pl.Float64: "7.5", pl.Boolean: "false"}
FIRST = {pl.String: "'first'", pl.Int64: "1", pl.Float64: "1.5", pl.Boolean: "true"}


class TestTables:
    @pytest.mark.parametrize("table", sorted(schemas.TABLES))
    def test_tell_of_every_column_where_it_comes_from(self, table: str) -> None:
        found = lineage.sources_of(table)
        assert list(found) == list(schemas.types_of(table))
        for pairs in found.values():
            for source, column in pairs:
                known = COHORT_COLUMNS if source == lineage.COHORT else set(schemas.types_of(source))
                assert column in known, f"{table} names {source}.{column}, which is not there"

    @pytest.mark.parametrize("table", sorted(schemas.TABLES))
    def test_have_no_rule_for_a_column_that_is_gone(self, table: str) -> None:
        named = {column for words, _ in lineage.TABLES[table] for column in words.split()} - {"*"}
        assert named - set(schemas.types_of(table)) == set()

    def test_a_new_column_without_a_rule_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        others = " ".join(name for name in schemas.types_of("findings") if name != "slice")
        monkeypatch.setitem(lineage.TABLES, "findings", ((others, ""),))
        with pytest.raises(KeyError, match="got none for slice"):
            lineage.sources_of("findings")


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    """The catalog's views over tables of one row each, in memory."""
    con = duckdb.connect()
    con.execute("CREATE SCHEMA lake")
    con.execute("CREATE MACRO under_home(p) AS p")
    for table in schemas.TABLES:
        values = [f'{FIRST[type(dtype)]} AS "{name}"' for name, dtype in schemas.types_of(table).items()]
        con.execute(f"CREATE TABLE lake.{table} AS SELECT {', '.join(values)}")
    # So that the one row is in every view.
    con.execute("UPDATE lake.findings SET outcome = 'accepted'")
    con.execute("UPDATE lake.lesions SET outcome = 'lesion'")
    con.execute("INSERT INTO lake.scores SELECT * REPLACE ('all' AS subset) FROM lake.scores")
    for path in sorted((SQL_DIR / "views").glob("*.sql")):
        name = re.sub(r"^\d+_", "", path.stem)
        con.execute(f"CREATE VIEW {name} AS {path.read_text().strip().rstrip(';')}")
    return con


class TestViews:
    def seen(self, con: duckdb.DuckDBPyConnection, view: str) -> dict[str, object]:
        cursor = con.execute(f"SELECT * FROM {view}")
        columns = [d[0] for d in cursor.description]
        row = cursor.fetchone()
        return dict(zip(columns, row or [None] * len(columns), strict=True))

    @pytest.mark.parametrize("view", sorted(list_views()))
    def test_show_what_the_rules_say(self, con: duckdb.DuckDBPyConnection, view: str) -> None:
        """Each source column is changed in turn: what then changes in the view must be told to come from it."""
        before = self.seen(con, view)
        told = lineage.view_sources(view, list(before))
        sources = sorted({source for pairs in told.values() for source, _ in pairs})
        depends: dict[str, set[tuple[str, str]]] = {column: set() for column in before}
        for source in sources:
            for name, dtype in schemas.types_of(source).items():
                if name in KEYS and len(sources) > 1:
                    continue  # What joins rows changes all of them.
                con.execute("BEGIN")
                con.execute(f'UPDATE lake.{source} SET "{name}" = {OTHER[type(dtype)]}')
                after = self.seen(con, view)
                con.execute("ROLLBACK")
                if (view, name) in {("lesions", "outcome"), ("scores", "subset")} and source == view:
                    continue  # It decides whether the row is there at all.
                for column in before:
                    if after[column] != before[column]:
                        depends[column].add((source, name))
        for column, found in depends.items():
            assert found <= set(told[column]), f"{view}.{column} shows {found - set(told[column])} too"
            assert found or column in KEYS or len(told[column]) > 1 or column in ("outcome", "subset"), (
                f"{view}.{column}"
            )
