"""A curation in jobs: chunks of stale shards, records of what became of each, what a later phase has to do."""

import logging
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.progress import Unwatched
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.curate import Failures
from pipelines.curation.engines.batch import (
    KEPT,
    Batch,
    BatchError,
    chunks_of,
    new_folder,
    plan_first,
    plan_phase,
    recorded,
    run_chunk,
)
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.engines.shard_records import RecordedError, read_record, write_record
from pipelines.curation.run import PHASES, TABLES, ShardReport, stale_shards
from pipelines.curation.shard_work import StageDone
from pipelines.curation.source import CurationSource
from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.incremental import UpdateCounts
from pipelines.tables.shards import shard_name

LOG = logging.getLogger("tests.batch")


def nothing(curation: Curation, report: ShardReport) -> dict[str, Any]:
    """No details."""
    return {}


class TestChunks:
    @given(
        st.sets(st.integers(0, 63)),
        st.dictionaries(st.integers(0, 63), st.integers(0, 4000)),
        st.integers(1, 64),
    )
    def test_hold_every_shard_once_in_at_most_n(self, shards: set[int], sizes: dict[int, int], n: int) -> None:
        found = chunks_of(sorted(shards), sizes, n)
        assert sorted(shard for chunk in found for shard in chunk) == sorted(shards)
        assert len(found) == min(n, len(shards))
        assert all(found)

    def test_are_of_nearly_the_same_number_of_exams(self) -> None:
        assert chunks_of(range(5), {0: 8, 1: 4, 2: 3, 3: 1}, 2) == [[0, 3], [1, 2, 4]]

    def test_share_the_shards_without_exams(self) -> None:
        assert [len(chunk) for chunk in chunks_of(range(64), {7: 2, 9: 2}, 2)] == [32, 32]


class TestRecords:
    def test_give_back_what_was_done(self, tmp_path: Path) -> None:
        details = {"first rows": pl.DataFrame({"a": [1, 2]}), "picture": b"\x89PNG", "warnings": ["w"], "problems": 2}
        done = StageDone("exams", 7, UpdateCounts(1, 2, 3, 4), "v", 5, 6, 7, 8, details)
        write_record(tmp_path / "deep" / "07.json", [done], None)
        found = read_record(tmp_path / "deep" / "07.json", 7)
        assert isinstance(found, list)
        (one,) = found
        assert (one.counts, one.version, one.n_rows, one.rows_reused) == (done.counts, "v", 5, 8)
        assert one.details["first rows"].rows() == [(1,), (2,)]
        assert {**one.details, "first rows": None} == {**details, "first rows": None}

    def test_give_back_an_error_in_its_words(self, tmp_path: Path) -> None:
        write_record(tmp_path / "07.json", [], ValueError("no luck"))
        found = read_record(tmp_path / "07.json", 7)
        assert isinstance(found, RecordedError)
        assert str(found) == "no luck"

    def test_that_are_not_there_are_null(self, tmp_path: Path) -> None:
        assert read_record(tmp_path / "07.json", 7) is None


def test_folders_of_submissions_differ_and_old_ones_go(tmp_path: Path) -> None:
    other = new_folder(tmp_path, "train")
    made = [new_folder(tmp_path, "curate") for _ in range(KEPT + 3)]
    assert len(set(made)) == len(made)
    assert [path for path in made if path.exists()] == made[-KEPT:]
    assert other.exists()


def test_a_folder_without_a_batch_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"expected batch\.json in .* a disk that all nodes see"):
        Batch.load(tmp_path)


def batch_of(source: CurationSource, n: int) -> Batch:
    """A batch of at most n tasks a phase for what is stale."""
    n_chunks, chunks = plan_first(source.open(), n)
    made = Batch(new_folder(source.paths.batches, "curate"), source, n_chunks, workers=1, is_strict=True)
    made.save()
    for phase, planned in chunks.items():
        made.write_chunks(phase, planned)
    return made


def run(batch: Batch, phase: int, *chunks: int) -> dict[int, Exception]:
    """Does tasks of a phase; their errors."""
    errors: dict[int, Exception] = {}
    for chunk in chunks:
        errors |= run_chunk(batch, phase, chunk, LocalEngine(1, LOG), nothing, Unwatched())
    return errors


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """A batch of two tasks a phase for a new home of four reports without images, of which everything is done."""
    cohort = tmp_path_factory.mktemp("batch") / "cohort"
    cohort.mkdir()
    rows = "".join(f"E{n},P{n},Focus with SUV 4.{n} in slice 12.\n" for n in range(4))
    (cohort / "reports.csv").write_text(f"exam_id,patient_id,findings\n{rows}")
    source = CurationSource(str(cohort), str(cohort.parent / "home"))
    observe_cohort(cohort, source.paths.manifest)
    batch = batch_of(source, 2)
    assert run(batch, 0, 0, 1) == {}
    plan_phase(batch, 1)
    assert run(batch, 1, 0, 1, 2) == {}  # One task more than there are chunks has nothing to do.
    return batch


@pytest.fixture
def stale(done: Batch, tmp_path: Path) -> CurationSource:
    """That home with three shards to do again."""
    source = CurationSource(done.source.cohort, str(tmp_path / "home"))
    shutil.copytree(done.source.home, source.home)
    for shard in SHARDS:
        for table in TABLES:
            (Path(source.home) / "lake" / table / f"{shard_name(shard)}.parquet").unlink()
    return source


SHARDS = (3, 20, 41)


class TestPhases:
    def test_one_after_the_other_do_everything(self, done: Batch) -> None:
        assert done.n_chunks == (2, 2)
        assert Batch.load(done.folder) == done
        failures = Failures()
        found = [one for some in recorded(done, failures) for one in some]
        assert failures.errors == {}
        assert {one.shard for one in found} == set(range(64))
        assert {one.table for one in found} == {table for tables in PHASES for table in tables}
        assert stale_shards(done.source.open()) == []
        assert plan_first(done.source.open(), 2) == ((0, 0), {})

    def test_of_a_task_that_was_ended_leave_its_shards_for_the_next_submission(self, stale: CurationSource) -> None:
        batch = batch_of(stale, 3)
        assert batch.chunks(0) == [[3], [20], [41]]
        assert run(batch, 0, 0, 2) == {}
        plan_phase(batch, 1)
        assert sorted(shard for chunk in batch.chunks(1) for shard in chunk) == [3, 41]
        assert run(batch, 1, 0, 1) == {}
        failures = Failures()
        list(recorded(batch, failures))
        assert list(failures.errors) == [20]
        assert "task 1 of its job was ended" in str(failures.errors[20])
        assert plan_first(stale.open(), 64) == ((1, 64), {0: [[20]]})

    def test_record_the_error_of_a_shard(self, stale: CurationSource) -> None:
        (Path(stale.home) / "lake" / "sentences" / "20.parquet").write_bytes(b"no table")
        batch = batch_of(stale, 1)
        assert list(run(batch, 0, 0)) == [20]
        failures = Failures()
        list(recorded(batch, failures, [0]))
        assert list(failures.errors) == [20]
        assert "no whole Parquet file" in str(failures.errors[20])

    def test_that_were_never_planned_are_an_error(self, stale: CurationSource) -> None:
        with pytest.raises(BatchError, match="the job before was ended; submit again"):
            run(batch_of(stale, 1), 1, 0)
