"""The engine of one machine: shards side by side in processes, and where shards are few, the exams of each."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from pipelines.curation.engines.worker_pool import Finished, Task, WorkerPool, run_here
from pipelines.curation.run import stale_exams
from pipelines.curation.shard_lock import shard_lock
from pipelines.curation.shard_work import ExamAt, StageDone, Work, ignore
from pipelines.curation.source import opened
from pipelines.curation.stages.failures import ComputedExam
from pipelines.curation.stages.incremental import UpdateCounts
from pipelines.curation.stages.stopping import CurationStoppedError, stop_is_requested
from pipelines.tables.shards import shard_name

T = TypeVar("T")

PRELOAD = ("pipelines.curation.shard_work", "pipelines.imaging.lesion_figures")
"""Modules that a worker needs."""

_EXAMS_PER_WORKER = 4
"""Below so many exams for each, a worker takes as long to start as it saves."""
_ROUND = 25
"""Exams for each worker between two saves of a shard whose exams are computed side by side."""
_BY_EXAM = ("exams", "peaks", "lesions", "candidates")
"""Tables whose exams are worth a process of their own: those of images."""


@dataclass(frozen=True)
class LocalEngine:
    """Processes of this machine.

    Args:
        n_workers: how many at most; with one, or with little to do, the work is done in this process.
        log: gets what the workers log.
        at: is told of each exam that is begun.
    """

    n_workers: int
    log: logging.Logger
    at: Callable[[ExamAt], None] = ignore

    def run(self, work: Work, shards: Sequence[int], sizes: Mapping[int, int]) -> Iterator[Finished[list[StageDone]]]:
        """Each shard as it is done.

        Args:
            work: what is done with each.
            shards: those to do.
            sizes: exams in each shard.
        """
        # The large ones first, so that no worker is left with one of them at the end.
        ordered = sorted(shards, key=lambda shard: (-sizes.get(shard, 0), shard))
        n_workers = min(self.n_workers, self._n_exams(work, ordered, sizes) // _EXAMS_PER_WORKER)
        tasks = [Task(shard_title(shard), partial(work.shard, shard), shard) for shard in ordered]
        if n_workers <= 1:
            yield from run_here(tasks, self.log, self.at)
            return
        with WorkerPool(n_workers, PRELOAD, self.log, self.at) as pool:
            if len(shards) >= n_workers:
                yield from pool.run(tasks)
                return
            for task, shard in zip(tasks, ordered, strict=True):
                if stop_is_requested():
                    return
                try:
                    with shard_lock(opened(work.source).home, shard):
                        yield Finished(task, _by_exam(pool, n_workers, work, shard))
                except Exception as error:
                    yield Finished(task, error=error)

    def _n_exams(self, work: Work, shards: Sequence[int], sizes: Mapping[int, int]) -> int:
        """Exams to do; where shards are many, all of theirs, for finding out more exactly costs a look at each."""
        if len(shards) >= self.n_workers:
            return sum(sizes.get(shard, 0) for shard in shards)
        tables = [table for table in work.tables if table in _BY_EXAM]
        return sum(len(stale_exams(opened(work.source), table, shard)) for table in tables for shard in shards)


def _by_exam(pool: WorkerPool, n_workers: int, work: Work, shard: int) -> list[StageDone]:
    """The tables of a shard whose lock the caller holds, the exams of each side by side."""
    return [
        _stage_by_exam(pool, n_workers, work, table, shard)
        if table in _BY_EXAM
        else _one(pool, Task(shard_title(shard), partial(work.stage, table, shard, is_locked=True)))
        for table in work.tables
    ]


def _stage_by_exam(pool: WorkerPool, n_workers: int, work: Work, table: str, shard: int) -> StageDone:
    """One table of a shard, saved after each round of exams, so that a killed call loses one round at most."""
    stale = stale_exams(opened(work.source), table, shard)
    failed: dict[str, ComputedExam] = {}
    rounds: list[StageDone] = []
    for start in range(0, len(stale), _ROUND * n_workers):
        computed = _computed(pool, n_workers, work, table, shard, stale[start : start + _ROUND * n_workers])
        failed |= {exam: one for exam, one in computed.items() if one.again}
        rounds.append(_saved(pool, work, table, shard, computed, only=list(computed)))
    done = _saved(pool, work, table, shard, failed)
    recomputed = sum(one.counts.recomputed for one in rounds)
    n_rows = sum(one.rows_recomputed for one in rounds)
    counts = UpdateCounts(
        recomputed=recomputed + done.counts.recomputed,
        reused=done.counts.reused - recomputed,
        removed=sum(one.counts.removed for one in (*rounds, done)),
        failed=done.counts.failed,
    )
    return replace(
        done, counts=counts, rows_recomputed=done.rows_recomputed + n_rows, rows_reused=done.rows_reused - n_rows
    )


def _computed(
    pool: WorkerPool, n_workers: int, work: Work, table: str, shard: int, exams: Sequence[str]
) -> dict[str, ComputedExam]:
    """Rows of exams, computed side by side, each worker taking every n-th, for neighbours are often alike in size."""
    parts = [own for n in range(n_workers) if (own := exams[n::n_workers])]
    found: dict[str, ComputedExam] = {}
    for finished in pool.run([Task(shard_title(shard), partial(work.exams, table, shard, own)) for own in parts]):
        part = _value(finished)
        found |= part
    return found


def _saved(
    pool: WorkerPool,
    work: Work,
    table: str,
    shard: int,
    computed: Mapping[str, ComputedExam],
    only: Sequence[str] = (),
) -> StageDone:
    return _one(
        pool, Task(shard_title(shard), partial(work.stage, table, shard, only=only, computed=computed, is_locked=True))
    )


def _one(pool: WorkerPool, task: Task[T]) -> T:
    for finished in pool.run([task]):
        return _value(finished)
    raise CurationStoppedError(f"{task.name}: stopped before it was done")


def _value(finished: Finished[T]) -> T:
    if finished.error is not None:
        raise finished.error
    assert finished.value is not None
    return finished.value


def shard_title(shard: int) -> str:
    """What a shard is called in messages."""
    return f"shard {shard_name(shard)}"
