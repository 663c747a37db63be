"""A curation in jobs of a cluster: which shards each job does, and what became of them, as files in a folder.

A task of a job does a chunk of stale shards of one phase, with the engine of one machine. Between two phases a job
plans the next one, for what is stale then hangs on all shards of the phase before. The last job takes up the records.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.curation.curate import Engine, Failures, Watch, run_phase, sizes_of
from pipelines.curation.engines.shard_records import RecordedError, read_record, write_record
from pipelines.curation.run import PHASES, stale_shards
from pipelines.curation.shard_work import Describe, StageDone, Work
from pipelines.curation.source import CurationSource, opened
from pipelines.curation.stages.curation import Curation
from pipelines.tables import atomic

KEPT = 10
"""Folders of a home's last submissions of a kind that are kept, with their logs; one of before is done by then."""
_FILE = "batch.json"


class BatchError(RuntimeError):
    """A folder of a batch that cannot be worked with; the message says what to do."""


@dataclass(frozen=True)
class Batch:
    """A submission.

    Args:
        folder: where chunks, records, scripts and logs lie; seen by all nodes.
        source: what is curated.
        n_chunks: tasks of each phase; 0 where a phase has nothing to do.
        workers: processes of a task; 0: as many as it has cores and memory for.
        is_strict: exams that cannot be used, and checks that fail, fail the last job.
    """

    folder: Path
    source: CurationSource
    n_chunks: tuple[int, ...]
    workers: int = 0
    is_strict: bool = False

    def save(self) -> None:
        """Writes what the jobs are to know."""
        values = {**asdict(self), "folder": None}
        atomic.write_bytes(self.folder / _FILE, json.dumps(values).encode())

    @classmethod
    def load(cls, folder: Path) -> "Batch":
        """The batch in a folder.

        Raises:
            BatchError: there is none.
        """
        try:
            values = json.loads((folder / _FILE).read_text())
        except OSError:
            raise BatchError(
                f"expected {_FILE} in {folder}, got none: put the home on a disk that all nodes see at the same path"
            ) from None
        source, n_chunks = CurationSource(**values["source"]), tuple(values["n_chunks"])
        return cls(folder, source, n_chunks, values["workers"], values["is_strict"])

    def write_chunks(self, phase: int, chunks: Sequence[Sequence[int]]) -> None:
        """Writes which shards each task of a phase does."""
        atomic.write_bytes(self._chunks_file(phase), json.dumps([list(chunk) for chunk in chunks]).encode())

    def chunks(self, phase: int) -> list[list[int]]:
        """The shards of each task of a phase; none where it was never planned.

        Raises:
            BatchError: the job that plans it did not get that far.
        """
        path = self._chunks_file(phase)
        if not self.n_chunks[phase]:
            return []
        if not path.exists():
            raise BatchError(
                f"expected the shards of phase {phase + 1} in {path}, got none: the job before was ended; submit again"
            )
        return [[int(shard) for shard in chunk] for chunk in json.loads(path.read_text())]

    def record(self, phase: int, shard: int) -> Path:
        """File that tells what became of a shard in a phase."""
        return self.folder / f"phase-{phase + 1}" / f"{shard:02d}.json"

    def _chunks_file(self, phase: int) -> Path:
        return self.folder / f"chunks-{phase + 1}.json"


def new_folder(parent: Path, kind: str) -> Path:
    """A new folder for a submission; of earlier ones the last few are kept.

    Args:
        parent: `Home.batches`.
        kind: what is submitted: `curate`, `train`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = parent / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{kind}"
        with suppress(FileExistsError):
            folder.mkdir()
            break
    for old in sorted(path for path in parent.glob(f"*-{kind}") if path.is_dir())[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def chunks_of(shards: Sequence[int], sizes: Mapping[int, int], n: int) -> list[list[int]]:
    """Shards in at most n chunks of nearly the same size, each sorted: a shard without exams takes as long as an exam
    without images. Several shards a chunk, for starting a task costs seconds.

    Args:
        shards: those to do.
        sizes: exams in each shard.
        n: chunks at most, at least 1.
    """
    found: list[list[int]] = [[] for _ in range(min(n, len(shards)))]
    weights = [0] * len(found)
    for shard in sorted(shards, key=lambda shard: (-sizes.get(shard, 0), shard)):
        lightest = min(range(len(found)), key=lambda i: (weights[i], len(found[i]), i))
        found[lightest].append(shard)
        weights[lightest] += sizes.get(shard, 0) + 1
    return [sorted(chunk) for chunk in found]


def plan_first(curation: Curation, n: int) -> tuple[tuple[int, ...], dict[int, list[list[int]]]]:
    """How many tasks each phase gets, and the chunks of the first phase that has something to do.

    What a later phase has to do is known when the one before is done: it gets as many tasks as there may be, and those
    without a chunk end at once.

    Args:
        curation: the home, as last observed.
        n: tasks of a phase at most.
    """
    for phase, tables in enumerate(PHASES):
        if shards := stale_shards(curation, tables):
            chunks = chunks_of(shards, sizes_of(curation), n)
            later = len(PHASES) - phase - 1
            return (*(0,) * phase, len(chunks), *(n,) * later), {phase: chunks}
    return (0,) * len(PHASES), {}


def plan_phase(batch: Batch, phase: int) -> None:
    """Writes the chunks of a phase, after the phases before it; a shard that failed in one of them has no turn."""
    opened.cache_clear()
    curation, failures = opened(batch.source), Failures()
    for _ in recorded(batch, failures, range(phase)):
        pass
    shards = [shard for shard in stale_shards(curation, PHASES[phase]) if shard not in failures.errors]
    batch.write_chunks(phase, chunks_of(shards, sizes_of(curation), batch.n_chunks[phase]))


def run_chunk(
    batch: Batch, phase: int, chunk: int, engine: Engine, describe: Describe, watch: Watch
) -> dict[int, Exception]:
    """Does the shards of a task and records each; the errors, by shard.

    Args:
        batch: what was submitted.
        phase: counted from 0.
        chunk: number of the task, from 0; beyond the last chunk there is nothing to do.
        engine: does the shards.
        describe: see `Work`.
        watch: is told how far it is.
    """
    chunks = batch.chunks(phase)
    shards = chunks[chunk] if chunk < len(chunks) else []
    errors: dict[int, Exception] = {}
    if not shards:
        return errors
    opened.cache_clear()
    work = Work(batch.source, PHASES[phase], describe)
    for finished in run_phase(engine, work, shards, sizes_of(opened(batch.source)), watch):
        shard = finished.task.key
        write_record(batch.record(phase, shard), finished.value or [], finished.error)
        if finished.error is not None:
            errors[shard] = finished.error
    return errors


def recorded(batch: Batch, failures: Failures, phases: Sequence[int] = range(len(PHASES))) -> Iterator[list[StageDone]]:
    """What was done of each shard, as `curate_stale` would tell it; what failed, or has no record since its task was
    ended, goes into `failures`.
    """
    for phase in phases:
        for n, chunk in enumerate(batch.chunks(phase)):
            for shard in chunk:
                path = batch.record(phase, shard)
                found = read_record(path, shard)
                if isinstance(found, list):
                    yield found
                elif found is not None:
                    failures.errors[shard] = found
                else:
                    failures.errors[shard] = RecordedError(
                        f"expected a record of phase {phase + 1}, got none: task {n} of its job was ended (memory,"
                        f" time, a node that went away), see its log in {batch.folder} and submit again"
                    )
