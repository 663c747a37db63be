"""The same thing started by several at once: done once, and right."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.definitions import build_defs
from assets.instance import dagster_instance
from assets.resources import Workspace
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import PHASES, TABLES, open_curation, run_stage, stale_shards
from pipelines.phantom import PhantomSettings, add_exam, write_cohort
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import SHARD_NAMES, shard_name, shard_of
from tests.support.paths import ROOT


def curate(home: Home, cohort: Path) -> None:
    observe_cohort(cohort, home.manifest)
    curation = open_curation(home)
    for tables in PHASES:
        for shard in stale_shards(curation, tables):
            for table in tables:
                run_stage(curation, table, shard)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cohort`, of which one exam is curated in `home` and one came since."""
    folder = tmp_path_factory.mktemp("at_once")
    write_cohort(folder / "cohort", PhantomSettings(n_patients=1, n_exams=1, size="small", with_faults=False))
    curate(Home(folder / "home"), folder / "cohort")
    add_exam(folder / "cohort")
    return folder


@pytest.fixture
def place(before: Path, tmp_path: Path) -> Path:
    shutil.copytree(before, tmp_path / "copy")
    return tmp_path / "copy"


def tables(home: Path) -> dict[str, pl.DataFrame]:
    return {table: Lake(home / "lake").read_table(table) for table in TABLES}


class TestProcessesAtOnce:
    def test_share_the_work_and_leave_what_one_would(self, before: Path, place: Path) -> None:
        where = ["--cohort", str(place / "cohort"), "--home", str(place / "home")]

        def run(command: str) -> str:
            made = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "assets.cli", command, *where],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert made.returncode == 0, made.stdout + made.stderr
            return made.stdout

        with ThreadPoolExecutor(2) as pool:
            outputs = list(pool.map(run, ["curate"] * 2))
        recomputed = [int(n) for output in outputs for n in re.findall(r"exams (\d+) recomputed", output)]
        assert sum(recomputed) == 1
        alone = Home(place / "alone")
        shutil.copytree(before / "home", alone.root)
        curate(alone, place / "cohort")
        found, expected = tables(place / "home"), tables(alone.root)
        assert {t: found[t].equals(expected[t]) for t in TABLES} == dict.fromkeys(TABLES, True)


class TestTheNightlySchedule:
    @pytest.fixture
    def instance(self, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
        (tmp_path / "dagster").mkdir()
        with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
            yield instance

    def night(self, instance: dg.DagsterInstance) -> int | str | None:
        """How many runs the schedule asks for, or why for none."""
        defs = build_defs(Workspace(cohort="none", home="none"))
        schedule = defs.resolve_schedule_def("nightly_recuration")
        assert schedule.job_name == "curate"
        with dg.build_schedule_context(
            instance=instance,
            repository_def=defs.get_repository_def(),
            scheduled_execution_time=datetime(2026, 1, 2, 2, tzinfo=UTC),
        ) as context:
            data = schedule.evaluate_tick(context)
        return len(data.run_requests or []) or data.skip_message

    def test_asks_for_one_run_of_all_shards(self, instance: dg.DagsterInstance) -> None:
        assert self.night(instance) == 1

    def test_asks_for_none_where_one_waits_already(self, instance: dg.DagsterInstance) -> None:
        job = build_defs(Workspace(cohort="none", home="none")).resolve_job_def("curate")
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)
        assert "waits for its turn already" in str(self.night(instance))


class TestTheQueue:
    def test_takes_one_run_a_shard_one_observation_and_one_publication_at_a_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("DAGSTER_HOME", "PETAR_DAGSTER"):
            monkeypatch.setenv(name, "")
        with dagster_instance(Home(tmp_path)) as instance:
            limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
        one_each = {"applyLimitPerUniqueValue": True}
        assert {limit["key"]: (limit["value"], limit["limit"]) for limit in limits} == {
            "dagster/partition": (one_each, 1),
            "petar/alone": (one_each, 1),
        }


class TestConditionsAndStaleness:
    """Of shards that the job `curate` did and of those that their own assets did."""

    def test_ask_for_exactly_what_changed(self, place: Path) -> None:
        workspace = Workspace(cohort=str(place / "cohort"), home=str(place / "home"))
        defs = build_defs(workspace)
        # One exam is put aside and comes back: as if it were dropped in.
        reports, folder = place / "cohort" / "reports.csv", place / "cohort" / "exams"
        whole = reports.read_text()
        last = pl.read_csv(reports, infer_schema=False).row(-1, named=True)
        shard = shard_name(shard_of(last["patient_id"]))
        shutil.move(folder / last["exam_id"], place / "aside")
        pl.read_csv(reports, infer_schema=False)[:-1].write_csv(reports)
        with dg.DagsterInstance.ephemeral() as instance:

            def run(name: str, key: str | None = None) -> None:
                assert defs.resolve_job_def(name).execute_in_process(instance=instance, partition_key=key).success

            def asked(cursor: Any) -> tuple[set[tuple[str, str]], Any]:
                found = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
                shards = {
                    (one.key.to_user_string(), key)
                    for one in found.results
                    if one.key.to_user_string() in TABLES and one.true_subset.size
                    for key in found.get_requested_partitions(one.key)
                }
                return {(table, str(key)) for table, key in shards}, found.cursor

            run("curate")
            everything = {(table, key) for table in TABLES for key in SHARD_NAMES}
            made = {(t, key) for t in TABLES for key in instance.get_materialized_partitions(dg.AssetKey(t))}
            _, cursor = asked(None)
            nothing, cursor = asked(cursor)
            reports.write_text(whole)
            shutil.move(place / "aside", folder / last["exam_id"])
            run("observe")
            changed, cursor = asked(cursor)
            # What the condition asks for, done by the assets of the shard.
            run("curate_shard", shard)
            after_assets, cursor = asked(cursor)
            run("curate")
            after_job, _ = asked(cursor)
        assert made == everything
        assert nothing == set()
        assert ("exams", shard) in changed
        assert {key for _, key in changed} == {shard}
        assert after_assets == after_job == set()
