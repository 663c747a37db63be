"""The pages of tables and queries: whole, and current with the code."""

from pathlib import Path

import polars as pl
import pytest

from pipelines.catalog import dictionary
from pipelines.catalog.build import build_catalog, list_queries, list_views
from pipelines.catalog.settings_page import settings_page, settings_schema
from pipelines.settings import ContourSettings
from pipelines.tables import schemas
from pipelines.tables.home import Home
from tests.support.paths import ROOT

DOCS = ROOT / "docs"


class TestDictionaryPage:
    def test_page_in_the_docs_is_current(self) -> None:
        assert (DOCS / "data-dictionary.md").read_text() == dictionary.dictionary_page(), (
            "docs/data-dictionary.md is older than the schemas: run python -m pipelines.catalog.dictionary"
        )

    def test_holds_every_table_column_and_view(self) -> None:
        page = dictionary.dictionary_page()
        for table in schemas.TABLES:
            section = page.split(f"\n## {table}\n")[1].split("\n## ")[0]
            assert [c.name for c in schemas.describe(table) if f"| `{c.name}` |" not in section] == []
        assert [view for view in list_views() if f"| `{view}` |" not in page] == []

    def test_holds_columns_of_views_that_no_table_has(self) -> None:
        page = dictionary.dictionary_page()
        assert "| `tracer` | Radiopharmaceutical" in page.split("\n### lesions\n")[1].split("\n### ")[0]
        assert page.split("\n### findings\n")[1].split("\n### ")[0].count("| `") == 6


class TestSettingsPage:
    def test_page_and_schema_in_the_docs_are_current(self) -> None:
        wanted = {"settings.md": settings_page(), "petar.schema.json": settings_schema()}
        stale = [name for name, text in wanted.items() if (DOCS / name).read_text() != text]
        assert stale == [], "older than pipelines/settings.py: run python -m pipelines.catalog.dictionary"

    def test_holds_every_key_with_default_and_range(self) -> None:
        section = settings_page().split("\n## `[lesions.contour]`\n")[1].split("\n## ")[0]
        assert [name for name in ContourSettings.model_fields if f"| `{name}` |" not in section] == []
        assert "| `background_part` | `0.25` | a number > 0 and < 1 | " in section
        assert "\n## `[[evaluation.vlm]]`\n" in settings_page()


class TestQueriesPage:
    def test_page_in_the_docs_explains_every_query(self) -> None:
        page = (DOCS / "queries.md").read_text()
        missing = [name for name, comment in list_queries().items() if f"## {name}\n\n{comment}\n" not in page]
        assert missing == [], (
            "docs/queries.md lacks queries: run python -m pipelines.catalog.dictionary --home (a demo's home)"
        )

    def test_shows_results_of_a_curation(self, tmp_path: Path) -> None:
        build_catalog(Home(tmp_path))
        page = dictionary.queries_page(Home(tmp_path))
        assert "| exams |  | 0 |" in page
        assert "(no rows)" in page


class TestMarkdownTable:
    def test_bars_in_a_cell_are_escaped_and_nulls_are_empty(self) -> None:
        frame = pl.DataFrame({"a": ["x|y", None], "b": [1.23456, 2.0]})
        assert dictionary.markdown_table(frame).splitlines()[2:] == ["| x\\|y | 1.235 |", "|  | 2 |"]

    def test_says_how_many_more(self) -> None:
        assert dictionary.markdown_table(pl.DataFrame({"a": range(20)}), 5).endswith("... 15 more rows")


class TestCommand:
    def test_writes_every_page(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert dictionary.main(["--docs", str(tmp_path)]) == 0
        pages = ["data-dictionary.md", "petar.schema.json", "queries.md", "settings.md"]
        assert sorted(p.name for p in tmp_path.iterdir()) == pages
        assert "written" in capsys.readouterr().out

    def test_home_without_catalog_is_an_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert dictionary.main(["--docs", str(tmp_path), "--home", str(tmp_path / "none")]) == 1
        assert "materialise `catalog`" in capsys.readouterr().err
