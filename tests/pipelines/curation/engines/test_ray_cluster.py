"""The engine of a Ray cluster, one of this machine: equal bytes, though a process of it is killed."""

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from assets.progress import Unwatched
from pipelines.cohort.manifest import observe_cohort, read_whole_manifest
from pipelines.curation.curate import Engine, Failures, curate_stale
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.engines.ray_cluster import RayClusterError, ray_engine
from pipelines.curation.engines.remote_home import RemoteHomeError, packed
from pipelines.curation.gate import read_outcomes
from pipelines.curation.run import PHASES, TABLES, ShardReport, stale_shards
from pipelines.curation.shard_work import Work
from pipelines.curation.source import CurationSource
from pipelines.curation.stages.curation import Curation
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.support.curated_files import curated_files
from tests.support.object_store import object_store

LOG = logging.getLogger("tests.ray")


def nothing(curation: Curation, report: ShardReport) -> dict[str, Any]:
    """No details."""
    return {}


def dying_once(mark: str, curation: Curation, report: ShardReport) -> dict[str, Any]:
    """No details; the process of the first shard with findings is killed by them, once."""
    if report.table == "findings" and report.frame.height:
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return {}
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


@pytest.fixture(scope="module")
def cluster_folder() -> Iterator[Path]:
    """Where Ray keeps its sockets, whose paths must be short, and its processes what they write elsewhere."""
    pytest.importorskip("ray", reason="needs the package ray (extra ray)")
    folder = Path(tempfile.mkdtemp(prefix="petar-ray-"))
    (folder / "node").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("TMPDIR", str(folder / "node"))
        patch.setenv("RAY_worker_niceness", "0")  # Beside other tests its processes would wait for long.
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "cohort"
    write_cohort(folder, PhantomSettings(n_patients=2, n_exams=3, size="small", with_faults=False))
    return folder


def curate(source: CurationSource, engine: Engine, describe: Any = nothing) -> Failures:
    failures = Failures()
    observe_cohort(source.cohort_folder, source.paths.manifest)
    for _ in curate_stale(source, engine, describe, Unwatched(), failures):
        pass
    assert failures.errors or stale_shards(source.open()) == []
    return failures


class TestACluster:
    @pytest.fixture(scope="class")
    @classmethod
    def local(cls, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
        """The same cohort, curated by a process of this machine."""
        home = tmp_path_factory.mktemp("local")
        assert curate(CurationSource(str(cohort), str(home)), LocalEngine(1, LOG)).errors == {}
        return Home(home)

    @pytest.fixture(scope="class")
    @classmethod
    def bucket(cls) -> Iterator[str]:
        """URL of a bucket that the processes of the cluster reach too."""
        with object_store() as url:
            yield url

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, cluster_folder: Path, local: Home) -> Iterator[Engine]:
        with ray_engine("", 2, LOG) as engine:
            yield engine

    def test_loses_no_byte_with_a_killed_process(
        self, engine: Engine, local: Home, cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        mark, source = tmp_path / "killed", CurationSource(str(cohort), str(tmp_path / "ray"))
        failures = curate(source, engine, partial(dying_once, str(mark)))
        assert failures.errors == {}
        assert mark.exists()
        assert "its process or node died (WorkerCrashedError); it is tried again" in caplog.text
        assert curated_files(tmp_path / "ray") == curated_files(local.root)
        assert not list((tmp_path / "ray").glob(".seen-*"))

    def test_needs_no_shared_disk_where_tables_and_files_lie_in_a_store(
        self, engine: Engine, bucket: str, local: Home, cohort: Path, tmp_path: Path
    ) -> None:
        source = CurationSource(str(cohort), str(tmp_path / "home"), "", f"{bucket}/lake", f"{bucket}/files")
        observe_cohort(cohort, source.paths.manifest)
        shards = sorted({entry.shard for entry in read_whole_manifest(source.paths.manifest)})
        for names in PHASES:
            done = list(engine.run(Work(source, names, nothing), shards, {}))
            assert [finished.error for finished in done] == [None] * len(shards)
        home = source.paths
        assert not home.volumes.exists()
        wanted = [(name, shard) for name in TABLES for shard in shards]
        versions = [[Lake(where.lake).shard_version(*one) for one in wanted] for where in (home, local)]
        assert None not in versions[0]
        assert versions[0] == versions[1]
        masks = {path.relative_to(local.root): path.read_bytes() for path in local.files_below(local.masks)}
        found = {path.relative_to(home.root): home.file(path).read_bytes() for path in home.files_below(home.masks)}
        assert masks
        assert found == masks
        assert read_outcomes(home) == {shard: read_outcomes(local)[shard] for shard in shards}


def test_a_cluster_that_is_not_there_is_an_error(cluster_folder: Path) -> None:
    with (
        pytest.raises(RayClusterError, match="expected a Ray cluster at auto, got none"),
        ray_engine("auto", 1, LOG),
    ):
        pass


def test_without_the_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(RayClusterError, match=r"expected the package ray, got none: pip install 'petar\[ray\]'"),
        ray_engine("", 1, LOG),
    ):
        pass


def test_shards_of_a_home_with_secrets_stay(cohort: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[privacy]\nmask_reports = true\n")
    source = CurationSource(str(cohort), str(tmp_path / "home"), str(settings))
    with pytest.raises(RemoteHomeError, match="whose links and secret do not leave this machine"):
        packed(source)
