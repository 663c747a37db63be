"""The work of an engine: the stages of one shard, and what is told of them when they are done."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from pipelines.curation.run import ShardReport, compute_exams, is_current, run_stage
from pipelines.curation.source import CurationSource, opened
from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.failures import ComputedExam
from pipelines.curation.stages.incremental import UpdateCounts
from pipelines.tables.shards import shard_name


@dataclass(frozen=True)
class ExamAt:
    """An exam that is worked on."""

    table: str
    shard: int
    exam_id: str

    def __str__(self) -> str:
        return f"exam {self.exam_id} of `{self.table}`, shard {shard_name(self.shard)}"


def ignore(at: ExamAt) -> None:
    """For who does not want to be told of each exam."""


class Reporter(Protocol):
    """What the work tells while it is done."""

    @property
    def log(self) -> logging.Logger:
        """Lines for people."""
        ...

    def at(self, at: ExamAt) -> None:
        """Tells what is worked on now."""
        ...


@dataclass(frozen=True)
class StageDone:
    """What a stage did for a shard: a `ShardReport` without the rows, small enough for another process."""

    table: str
    shard: int
    counts: UpdateCounts
    version: str
    n_rows: int
    quarantined: int
    rows_recomputed: int
    rows_reused: int
    details: Mapping[str, Any] = field(default_factory=dict)
    """What `Describe` tells of the rows."""


Describe = Callable[[Curation, ShardReport], Mapping[str, Any]]
"""What is told of the rows of a shard beside their number, in values that can be pickled."""


def described(curation: Curation, report: ShardReport, describe: Describe) -> StageDone:
    """A report without its rows."""
    return StageDone(
        table=report.table,
        shard=report.shard,
        counts=report.counts,
        version=report.version,
        n_rows=report.frame.height,
        quarantined=report.quarantined,
        rows_recomputed=report.rows_recomputed,
        rows_reused=report.rows_reused,
        details=describe(curation, report),
    )


@dataclass(frozen=True)
class Work:
    """What an engine is to do with each shard: bring these tables up to date, in this order."""

    source: CurationSource
    tables: Sequence[str]
    describe: Describe

    def shard(self, shard: int, reporter: Reporter) -> list[StageDone]:
        """Brings the tables of a shard up to date; nothing where another process has done that meanwhile."""
        if is_current(opened(self.source), shard, self.tables):
            return []
        return [self.stage(table, shard, reporter) for table in self.tables]

    def stage(
        self,
        table: str,
        shard: int,
        reporter: Reporter,
        *,
        only: Sequence[str] = (),
        computed: Mapping[str, ComputedExam] | None = None,
        is_locked: bool = False,
    ) -> StageDone:
        """Brings one of them up to date; see `run_stage`."""
        report = run_stage(
            opened(self.source),
            table,
            shard,
            only=only,
            log=reporter.log,
            at=partial(_at, reporter, table, shard),
            computed=computed,
            is_locked=is_locked,
        )
        return described(opened(self.source), report, self.describe)

    def exams(self, table: str, shard: int, exam_ids: Sequence[str], reporter: Reporter) -> dict[str, ComputedExam]:
        """Rows of some exams of a shard; see `compute_exams`."""
        at = partial(_at, reporter, table, shard)
        return compute_exams(opened(self.source), table, shard, exam_ids, log=reporter.log, at=at)


def _at(reporter: Reporter, table: str, shard: int, exam_id: str) -> None:
    reporter.at(ExamAt(table, shard, exam_id))
