"""One asset again: from the command line that make calls, and from `dg launch`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.resources import Workspace
from assets.runner import RerunError, Runner
from pipelines.catalog.build import build_catalog, run_query
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import TABLES, open_curation, run_stage, stale_shards
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.settings import SettingsError
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_name
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cohort` of one exam, curated and published in `home`."""
    folder = tmp_path_factory.mktemp("rerun")
    write_cohort(folder / "cohort", PhantomSettings(n_patients=1, n_exams=1, size="small", with_faults=False))
    home = Home(folder / "home")
    observe_cohort(folder / "cohort", home.manifest)
    curation = open_curation(home)
    for shard in stale_shards(curation):
        for table in TABLES:
            run_stage(curation, table, shard)
    build_catalog(home)
    return folder


@pytest.fixture
def place(curated: Path, tmp_path: Path) -> Path:
    shutil.copytree(curated, tmp_path / "copy")
    build_catalog(Home(tmp_path / "copy" / "home"))
    return tmp_path / "copy"


def exam(place: Path) -> dict[str, Any]:
    return Lake(place / "home" / "lake").read_table("exams").row(0, named=True)


def call(place: Path, *command: str) -> str:
    environment = {
        **os.environ,
        "PETAR_HOME": str(place / "home"),
        "PETAR_COHORT": str(place / "cohort"),
        "DAGSTER_HOME": "",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class TestRerun:
    def test_of_one_exam_with_another_threshold_shows_in_the_diff_and_leaves_the_shard_stale(self, place: Path) -> None:
        row = exam(place)
        call(
            place,
            *(sys.executable, "-m", "assets.cli", "rerun", "lesions"),
            *("--exam", row["exam_id"], "--set", "contour.level = 0.7"),
        )
        diff = run_query(Home(place / "home"), "curation_diff")
        assert set(diff["why"]) == {"parameters"}
        assert "contour.level: 0.95 -> 0.7" in diff["detail"][0]
        assert stale_shards(open_curation(Home(place / "home"))) == [row["shard"]]

    @pytest.mark.parametrize(
        ("asset", "exams", "shard", "changes", "why"),
        [
            ("lesionz", [], "", [], "got 'lesionz'"),
            ("catalog", ["PX-0001"], "", [], "is not in shards"),
            ("exams", [], "00", ["a = 1"], "got it for exams"),
            ("lesions", ["nobody"], "", [], "got nobody"),
            ("lesions", [], "7", [], "from 00 to 63, got '7'"),
            (
                "lesions",
                [],
                "",
                ["contour.background_part = 7"],
                r"> 0 and < 1 .* in \[lesions.contour\] of --set, got 7",
            ),
            ("lesions", [], "", ["lesions.contour.background_part = 7"], r"in \[lesions.contour\] of --set, got 7"),
            ("findings", [], "", ["min_suvmax ="], "expected TOML in --set"),
        ],
    )
    def test_says_what_it_can_not_do(
        self, curated: Path, asset: str, exams: list[str], shard: str, changes: list[str], why: str
    ) -> None:
        workspace = Workspace(cohort=str(curated / "cohort"), home=str(curated / "home"))
        with dg.DagsterInstance.ephemeral() as instance, pytest.raises((RerunError, SettingsError), match=why):
            Runner(workspace, instance).rerun(asset, exams, shard, changes)

    def test_of_a_whole_table_runs_the_shards_that_hold_exams_and_no_check(self, place: Path) -> None:
        workspace = Workspace(cohort=str(place / "cohort"), home=str(place / "home"))
        with dg.DagsterInstance.ephemeral() as instance:
            runner = Runner(workspace, instance)
            assert runner.rerun("lesions", [], "", [])
            runs = instance.get_runs()
            checks = dg.DagsterEventType.ASSET_CHECK_EVALUATION
            assert [run.tags["dagster/partition"] for run in runs] == [shard_name(exam(place)["shard"])]
            assert not instance.all_logs(runs[0].run_id, of_type=checks)


class TestDgLaunch:
    def test_takes_a_shard_an_exam_and_a_threshold(self, place: Path) -> None:
        row = exam(place)
        config = {"only_exams": [row["exam_id"]], "lesions": {"contour": {"level": 0.7}}}
        call(
            place,
            *(str(Path(sys.executable).parent / "dg"), "launch", "--assets", "lesions"),
            *("--partition", shard_name(row["shard"])),
            *("--config-json", json.dumps({"ops": {"lesions": {"config": config}}})),
        )
        build_catalog(Home(place / "home"))
        diff = run_query(Home(place / "home"), "curation_diff")
        assert diff.filter(pl.col("why") == "parameters").height == diff.height > 0
