"""A curation of all stale shards by an engine, phase by phase."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.cohort.manifest import read_manifest
from pipelines.curation.engines.worker_pool import Finished
from pipelines.curation.run import PHASES, stale_shards
from pipelines.curation.shard_work import Describe, ExamAt, StageDone, Work
from pipelines.curation.source import CurationSource, opened
from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.stopping import stop_is_requested
from pipelines.tables.shards import N_SHARDS

OF_FINDINGS = ("findings", "lesions")
"""Tables with one row a finding."""


class Engine(Protocol):
    """What brings shards up to date: the same function of a shard, the same bytes, whoever runs it."""

    def run(self, work: Work, shards: Sequence[int], sizes: Mapping[int, int]) -> Iterator[Finished[list[StageDone]]]:
        """Each shard as it is done; `sizes`: exams in each shard."""
        ...


class Watch(Protocol):
    """Who is told how far a curation is."""

    def begin(self, phase: str, n_shards: int, n_exams: int) -> None:
        """What a phase has to do."""
        ...

    def at(self, at: ExamAt) -> None:
        """An exam is begun, in one table."""
        ...

    def advance(self, shard: int, n_exams: int, n_findings: int) -> None:
        """A shard is done, or failed."""
        ...

    def end(self) -> None:
        """The phase is over."""
        ...


@dataclass
class Failures:
    """What could not be done, by shard."""

    errors: dict[int, Exception] = field(default_factory=dict)


def sizes_of(curation: Curation) -> dict[int, int]:
    """Exams in each shard, as last observed."""
    manifest = curation.home.manifest
    return Counter({shard: len(read_manifest(manifest, shard)[1]) for shard in range(N_SHARDS)})


def curate_stale(
    source: CurationSource,
    engine: Engine,
    describe: Describe,
    watch: Watch,
    failures: Failures,
    phases: Sequence[Sequence[str]] = PHASES,
) -> Iterator[list[StageDone]]:
    """What was done of each stale shard, phase by phase; what failed goes into `failures` and bars no other shard.

    A shard that failed in a phase has no turn in the next. `phases`: the tables in groups, as `PHASES` of a curation.
    """
    opened.cache_clear()  # The settings of this run count, whatever the process did before.
    curation = opened(source)
    sizes = sizes_of(curation)
    for tables in phases:
        shards = [shard for shard in stale_shards(curation, tables) if shard not in failures.errors]
        if not shards or stop_is_requested():
            continue
        for finished in run_phase(engine, Work(source, tables, describe), shards, sizes, watch):
            if finished.error is not None:
                failures.errors[finished.task.key] = finished.error
            else:
                yield finished.value or []


def run_phase(
    engine: Engine, work: Work, shards: Sequence[int], sizes: Mapping[int, int], watch: Watch
) -> Iterator[Finished[list[StageDone]]]:
    """Each shard as it is done by an engine, with `watch` told of it.

    Args:
        engine: does the shards.
        work: what is done with each.
        shards: those to do.
        sizes: exams in each shard.
        watch: is told how far it is.
    """
    name = " to ".join(dict.fromkeys((work.tables[0], work.tables[-1])))
    watch.begin(name, len(shards), sum(sizes.get(shard, 0) for shard in shards))
    try:
        for finished in engine.run(work, shards, sizes):
            yield finished
            n_findings = sum(one.n_rows for one in finished.value or () if one.table in OF_FINDINGS)
            watch.advance(finished.task.key, sizes.get(finished.task.key, 0), n_findings)
    finally:
        watch.end()
