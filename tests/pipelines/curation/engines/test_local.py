"""The engine of one machine: the same tables and masks with one process and with several, by shards and by exams."""

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.curate import Failures, curate_stale
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.run import PHASES, TABLES, ShardReport, stale_shards
from pipelines.curation.shard_work import ExamAt, StageDone
from pipelines.curation.source import CurationSource
from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.incremental import UpdateCounts
from pipelines.curation.stages.stopping import forget_request, request_stop
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.tables.lake import Lake
from pipelines.tables.shards import SHARD_NAMES, shard_of
from tests.support.curated_files import curated_files

LOG = logging.getLogger("tests.local")


class Counting:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.exams = self.findings = 0
        self.seen: Counter[str] = Counter()

    def begin(self, phase: str, n_shards: int, n_exams: int) -> None:
        self.begun.append((phase, n_shards, n_exams))

    def at(self, at: ExamAt) -> None:
        self.seen[at.table] += 1

    def advance(self, shard: int, n_exams: int, n_findings: int) -> None:
        self.exams += n_exams
        self.findings += n_findings

    def end(self) -> None:
        """Nothing."""


def nothing(curation: Curation, report: ShardReport) -> dict[str, Any]:
    """No details."""
    return {}


def curate(source: CurationSource, n_workers: int) -> tuple[list[StageDone], Failures, Counting]:
    observe_cohort(source.cohort_folder, source.paths.manifest)
    failures, watch = Failures(), Counting()
    engine = LocalEngine(n_workers, LOG, watch.at)
    done = [one for some in curate_stale(source, engine, nothing, watch, failures) for one in some]
    return done, failures, watch


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight exams of one patient, so of one shard."""
    folder = tmp_path_factory.mktemp("engine") / "cohort"
    write_cohort(folder, PhantomSettings(n_patients=1, n_exams=8, size="small", with_faults=False))
    return folder


@pytest.fixture(scope="module")
def alone(cohort: Path) -> tuple[Path, list[StageDone]]:
    """A home that one process curated, and what it did."""
    home = cohort.parent / "alone"
    return home, curate(CurationSource(str(cohort), str(home)), 1)[0]


class TestExamsOfOneShard:
    def test_side_by_side_give_the_same_bytes_and_counts(
        self, cohort: Path, alone: tuple[Path, list[StageDone]]
    ) -> None:
        source = CurationSource(str(cohort), str(cohort.parent / "two"))
        done, failures, watch = curate(source, 2)
        assert failures.errors == {}
        assert watch.exams == 8 * len(PHASES)
        assert watch.seen["exams"] == watch.seen["lesions"] == 8
        lake = Lake(source.paths.lake)
        assert watch.findings == lake.read_table("findings").height + lake.read_table("lesions").height
        assert curated_files(Path(source.home)) == curated_files(alone[0])
        assert {(d.table, d.shard): d.counts for d in done} == {(d.table, d.shard): d.counts for d in alone[1]}

    def test_of_a_shard_that_is_stale_alone(self, cohort: Path, alone: tuple[Path, list[StageDone]]) -> None:
        source = CurationSource(str(cohort), str(cohort.parent / "one_shard"))
        shutil.copytree(alone[0], source.home)
        (shard,) = {shard_of(p) for p in Lake(source.paths.lake).read_table("exams")["patient_id"]}
        for table in TABLES:
            (Path(source.home) / "lake" / table / f"{SHARD_NAMES[shard]}.parquet").unlink()
        done, failures, watch = curate(source, 2)
        assert failures.errors == {}
        assert watch.begun == [("exams to peaks", 1, 8), ("calibration to lesions", 1, 8)]
        assert curated_files(Path(source.home)) == curated_files(alone[0])
        counts = {d.table: d.counts for d in done}
        assert counts["exams"] == counts["lesions"] == UpdateCounts(recomputed=8)


def test_what_is_done_is_not_done_again(cohort: Path, alone: tuple[Path, list[StageDone]]) -> None:
    source = CurationSource(str(cohort), str(alone[0]))
    assert curate(source, 2)[0] == []
    assert stale_shards(source.open()) == []


def test_after_a_stop_no_further_shard_is_begun(cohort: Path, tmp_path: Path) -> None:
    source = CurationSource(str(cohort), str(tmp_path / "home"))
    observe_cohort(source.cohort_folder, source.paths.manifest)
    failures, watch = Failures(), Counting()
    try:
        for _ in curate_stale(source, LocalEngine(1, LOG, watch.at), nothing, watch, failures):
            request_stop()
    finally:
        forget_request()
    assert len(stale_shards(source.open())) == 63 + 1  # One was done in the first phase alone.
    assert sum(Lake(source.paths.lake).has_shard("exams", shard) for shard in range(64)) == 1


def test_a_shard_that_cannot_be_done_bars_no_other(cohort: Path, tmp_path: Path) -> None:
    source = CurationSource(str(cohort), str(tmp_path / "home"))
    broken = Path(source.home) / "lake" / "sentences" / "00.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no table")
    (cohort_copy := tmp_path / "cohort").mkdir()
    (cohort_copy / "reports.csv").write_text("exam_id,patient_id,findings\nE1,P1,No focus.\n")
    done, failures, _ = curate(CurationSource(str(cohort_copy), source.home), 1)
    assert list(failures.errors) == [0]
    assert "no whole Parquet file" in str(failures.errors[0])
    assert {d.shard for d in done} == set(range(1, 64))
