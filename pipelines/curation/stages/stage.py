"""Types that the sharded stages share: context, stage, provenance."""

import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipelines.cohort.manifest import ExamEntry, read_manifest
from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.incremental import Rows


@dataclass(frozen=True)
class StageProvenance:
    """Provenance of an exam's rows besides their inputs: the version of the code, and the parameters."""

    logic: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class ShardContext:
    """Input of a stage: one shard of one table, and its last rows."""

    curation: Curation
    shard: int
    log: logging.Logger
    logic: str
    """Hash of the logic and the parameters of this table; part of every key."""
    previous: pl.DataFrame
    """Rows of the last update."""
    forced: frozenset[str] = frozenset()
    """Exams named by `only_exams`: nothing of them is reused."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the last update noted of each exam."""
    unchanged: Mapping[str, str] = field(default_factory=dict)
    """Exam -> key of the last update, of exams whose inputs are those of then; a stage makes the keys of the others."""
    reads: Sequence[str] = ()
    """Tables whose rows count as inputs (`input_digests.READS`)."""

    def rows_before(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of the last update by exam, without those of exams that are forced or whose inputs are unchanged."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self._others(self.previous).iter_rows(named=True):
            if row["exam_id"] not in self.forced:
                found.setdefault(row["exam_id"], []).append(row)
        return found

    def rows(self, table: str) -> pl.DataFrame:
        """Rows of a table below, without those of exams whose inputs are unchanged.

        Raises:
            KeyError: a table whose rows do not count as inputs: a change of them would go unnoticed.
        """
        if table not in self.reads:
            raise KeyError(f"expected one of the tables {', '.join(self.reads)}, got {table}: name it in READS")
        return self._others(self.curation.lake.read_shard(table, self.shard))

    def entries(self) -> dict[str, ExamEntry]:
        """Entries of the manifest by exam, without exams whose inputs are unchanged."""
        entries = read_manifest(self.curation.home.manifest, self.shard)[1]
        return {entry.exam_id: entry for entry in entries if entry.exam_id not in self.unchanged}

    def _others(self, frame: pl.DataFrame) -> pl.DataFrame:
        known = pl.Series(list(self.unchanged), dtype=pl.String)
        return frame.filter(~pl.col("exam_id").is_in(known)) if self.unchanged else frame


@dataclass(frozen=True)
class ShardStage:
    """How the rows of a shard are made, an exam at a time.

    `keys`: exam -> hash of everything that its rows depend on. `compute`: exam -> (rows, whether the next run must
    compute it again); a row may bring a `row_key` of its own. `failed`: (exam, message) -> rows of an exam whose
    computation raised. `forget`: takes the files of an exam that left the cohort away. `prepare`: see
    `incremental.update_exams`. `notes`: what to keep of the exams beside their rows, filled by `compute`. `finish`:
    called with the rows before they are written. `batch`: exams that are prepared together.
    """

    keys: Mapping[str, str]
    compute: Callable[[str], tuple[Rows, bool]]
    failed: Callable[[str, str], Rows] = lambda exam_id, message: ()
    forget: Callable[[str], None] = lambda exam_id: None
    prepare: Callable[[Sequence[str]], None] | None = None
    notes: MutableMapping[str, Any] = field(default_factory=dict)
    finish: Callable[[pl.DataFrame], None] = lambda frame: None
    batch: int = 25
