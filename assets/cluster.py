"""Curation by the jobs of a cluster: what is submitted, and what each job does."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from assets.curation import workers_of
from assets.progress import CurationProgress
from assets.resources import Workspace
from pipelines.cohort.manifest import CohortError, observe_cohort
from pipelines.curation.engines.batch import Batch, chunks_of, new_folder, plan_first, run_chunk
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.engines.slurm import (
    SlurmOptions,
    check_cluster,
    curation_scripts,
    printed,
    submit_from,
)
from pipelines.curation.run import PHASES
from pipelines.review.stage_details import stage_details
from pipelines.tables.shards import N_SHARDS, shard_name

_DRY = "<folder of the submission>"


@dataclass(frozen=True)
class ClusterCall:
    """How a curation is handed to a cluster.

    Args:
        options: what each task asks for.
        workers: processes of a task; 0: as many as it has cores and memory for.
        is_strict: exams that cannot be used, and checks that fail, fail the last job.
        accepts_removals: see `observe_cohort`.
    """

    options: SlurmOptions
    workers: int = 0
    is_strict: bool = False
    accepts_removals: bool = False


def submit_curation(workspace: Workspace, call: ClusterCall, say: Callable[[str], None]) -> Batch:
    """The submitted batch: the cohort is observed here, all else is done by its jobs.

    Args:
        workspace: the cohort and its home.
        call: what is asked for.
        say: gets a line a step.

    Raises:
        SlurmError: no sbatch, a node that does not see the home, or options that the cluster refuses; nothing is left
            in the queue.
        CohortError: see `observe_cohort`.
    """
    home, cohort = workspace.paths, workspace.cohort_folder
    check_cluster(home.root, [cohort], call.options, say)
    observe_cohort(cohort, home.manifest, workspace.deidentifier(), accept_removals=call.accepts_removals)
    n_chunks, chunks = plan_first(workspace.curation(), call.options.chunks)
    folder = new_folder(home.batches, "curate")
    batch = Batch(folder, workspace.source, n_chunks, call.workers, call.is_strict)
    batch.save()
    for phase, planned in chunks.items():
        batch.write_chunks(phase, planned)
    say(f"curate: {sum(map(len, chunks[min(chunks)])) if chunks else 0} of {N_SHARDS} shards to do")
    submit_from(folder, curation_scripts(batch, call.options, chunks), say)
    return batch


def dry_run(workspace: Workspace, call: ClusterCall) -> str:
    """The scripts that would be submitted, by the last observation; before the first one, for all shards."""
    try:
        n_chunks, chunks = plan_first(workspace.curation(), call.options.chunks)
    except CohortError:
        planned = chunks_of(range(N_SHARDS), {}, call.options.chunks)
        n_chunks, chunks = (len(planned), *(call.options.chunks,) * (len(PHASES) - 1)), {0: planned}
    batch = Batch(workspace.paths.batches / _DRY, workspace.source, n_chunks, call.workers, call.is_strict)
    return printed(curation_scripts(batch, call.options, chunks))


def work(folder: Path, phase: int, chunk: int) -> list[str]:
    """What failed of the shards of a task, a line each.

    Args:
        folder: of the batch.
        phase: counted from 0.
        chunk: number of the task, from 0.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    batch = Batch.load(folder)
    log = logging.getLogger("petar.batch")
    settings = batch.source.settings()
    watch = CurationProgress()
    engine = LocalEngine(batch.workers or workers_of(settings), log, watch.at)
    errors = run_chunk(batch, phase, chunk, engine, stage_details, watch)
    return [f"shard {shard_name(shard)}: {error}" for shard, error in sorted(errors.items())]


def workspace_of(batch: Batch) -> Workspace:
    """The workspace of a batch."""
    return Workspace(**asdict(batch.source))
