"""A small phantom, curated once for all exports."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import TABLES, open_curation, run_stage
from pipelines.tables.home import Home
from pipelines.tables.shards import shard_of


@pytest.fixture(scope="session")
def curated(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("home"))
    observe_cohort(small_cohort, home.manifest)
    curation = open_curation(home)
    for shard in sorted({shard_of(p) for p in pl.read_csv(small_cohort / "reports.csv")["patient_id"].drop_nulls()}):
        for table in TABLES:
            run_stage(curation, table, shard)
    return home


@pytest.fixture
def home(curated: Home, tmp_path: Path) -> Home:
    shutil.copytree(curated.root, tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture
def exams(small_cohort: Path) -> Path:
    return small_cohort / "exams"
