"""A published curation as a library."""

import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import pipelines
from pipelines.catalog.build import CatalogError, build_catalog, connect
from pipelines.catalog.versions import accept
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home with blanks")
    row = {"exam_id": "E1", "patient_id": "P1", "row_key": "k", "shard": shard_of("P1"), "status": "problem"}
    row |= {"problem": "no PET series", "message": "m"}
    Lake(root / "lake").write_shard("exams", shard_of("P1"), schemas.frame("exams", [row]), {})
    build_catalog(Home(root))
    accept(Home(root), "v1", "Dr A")
    return root


class TestOpen:
    def test_gives_views_and_queries_as_frames_of_polars(self, home: Path) -> None:
        curation = pipelines.open(str(home))
        assert curation.lesions().height == 0
        assert curation.view("exams")["exam_id"].to_list() == ["E1"]
        assert isinstance(curation.query("funnel"), pl.DataFrame)
        assert curation.sql("SELECT count(*) AS n FROM exams")["n"][0] == 1

    def test_gives_them_as_frames_of_pandas(self, home: Path) -> None:
        curation = pipelines.open(home, frames="pandas")
        assert isinstance(curation.lesions(), pd.DataFrame)
        assert list(curation.view("exams")["exam_id"]) == ["E1"]
        assert isinstance(curation.query("funnel"), pd.DataFrame)

    def test_opens_an_accepted_version(self, home: Path) -> None:
        assert pipelines.open(home, "v1").view("exams").height == 1

    def test_a_connection_takes_a_path_as_text(self, home: Path) -> None:
        with connect(str(home)) as con:
            assert con.sql("SELECT exam_id FROM exams").fetchall() == [("E1",)]

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (lambda home: pipelines.open(home / "none"), "materialise `catalog`"),
            (lambda home: pipelines.open(home, "v9"), "accepted names: v1"),
            (lambda home: pipelines.open(home, frames="dask"), "polars or pandas"),
            (lambda home: pipelines.open(home).view("lesion"), "expected a view"),
            (lambda home: pipelines.open(home).query("none"), "expected a query"),
            (lambda home: pipelines.open(home).sql("DROP VIEW exams"), "expected a SELECT"),
            (lambda home: pipelines.open(home).sql("SELECT x FROM exams"), "expected a SELECT"),
        ],
    )
    def test_says_what_is_wrong(self, home: Path, call, words: str) -> None:
        with pytest.raises(CatalogError, match=words):
            call(home)

    def test_importing_it_loads_no_library(self) -> None:
        assert "pipelines" in sys.modules
        assert pipelines.__file__ is not None
        assert "import duckdb" not in Path(pipelines.__file__).read_text()
