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
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.curate import Engine, Failures, curate_stale
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.engines.ray_cluster import RayClusterError, ray_engine
from pipelines.curation.run import ShardReport, stale_shards
from pipelines.curation.source import CurationSource
from pipelines.curation.stages.curation import Curation
from pipelines.phantom import PhantomSettings, write_cohort
from tests.support.curated_files import curated_files

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


@pytest.fixture
def cluster_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray keeps its sockets, whose paths must be short."""
    pytest.importorskip("ray", reason="needs the package ray (extra ray)")
    folder = Path(tempfile.mkdtemp(prefix="petar-ray-"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "cohort"
    write_cohort(folder, PhantomSettings(n_patients=2, n_exams=3, size="small", with_faults=False))
    return folder


def curate(cohort: Path, home: Path, engine: Engine, describe: Any = nothing) -> Failures:
    source, failures = CurationSource(str(cohort), str(home)), Failures()
    observe_cohort(cohort, source.paths.manifest)
    for _ in curate_stale(source, engine, describe, Unwatched(), failures):
        pass
    assert failures.errors or stale_shards(source.open()) == []
    return failures


def test_a_killed_process_costs_no_byte(
    cluster_folder: Path, cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert curate(cohort, tmp_path / "local", LocalEngine(1, LOG)).errors == {}
    mark = tmp_path / "killed"
    with ray_engine("", 2, LOG) as engine:
        failures = curate(cohort, tmp_path / "ray", engine, partial(dying_once, str(mark)))
    assert failures.errors == {}
    assert mark.exists()
    assert "its process or node died (WorkerCrashedError); it is tried again" in caplog.text
    assert curated_files(tmp_path / "ray") == curated_files(tmp_path / "local")
    assert not list((tmp_path / "ray").glob(".seen-*"))


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
