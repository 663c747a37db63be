"""The engine of a Ray cluster: each shard a task of it, the same function with the same bytes (extra `ray`).

A task whose process or node died is tried again here and not by Ray, which would try one that takes too much memory
for ever. What a shard had saved by then is reused.
"""

import logging
import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.curation.engines.local import shard_title
from pipelines.curation.engines.remote_home import (
    has_stores,
    packed,
    read_outcomes_file,
    unpacked,
    write_outcomes_file,
)
from pipelines.curation.engines.worker_pool import (
    MOST_TRIES,
    THREADS,
    Finished,
    LocalReporter,
    Task,
    WorkerDiedError,
    portable,
)
from pipelines.curation.engines.workers import GB_PER_WORKER
from pipelines.curation.shard_lock import shard_lock
from pipelines.curation.shard_work import StageDone, Work, ignore
from pipelines.curation.stages.stopping import stop_is_requested
from pipelines.reports.llm.servers import share_limits
from pipelines.tables.home import Home

_LOOK_EVERY_S = 0.5
"""Between two looks at whether a stop was asked for."""
_OWN_STORE = 100_000_000
"""Bytes of the object store of a cluster that this process starts: results are a few KB a shard."""
_OF_RAY = "RAY_"
"""What variables begin with that each process of Ray has its own of."""


class RayClusterError(RuntimeError):
    """Ray is not installed, its cluster does not answer, or its nodes see no home; the message says what to do."""


@contextmanager
def ray_engine(address: str, n_workers: int, log: logging.Logger) -> Iterator["RayEngine"]:
    """The engine of a cluster, connected until the end of the block.

    Args:
        address: of the cluster (`auto`: the one that this machine belongs to); empty: one of this machine alone, which
            ends with the block.
        n_workers: tasks at once where the cluster is this machine alone.
        log: gets what is told of tasks that are tried again.

    Raises:
        RayClusterError: no package, or no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise RayClusterError("expected the package ray, got none: pip install 'petar[ray]'") from None
    if ray.is_initialized():
        raise RayClusterError("expected a process that uses no Ray yet, got one that does: curate in another one")
    alone: dict[str, Any] = (
        {} if address else {"num_cpus": n_workers, "object_store_memory": _OWN_STORE, "include_dashboard": False}
    )
    # What a hospital computes is not reported to anyone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    threads = {name: os.environ.get(name) or "1" for name in THREADS}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": threads},
            **alone,
        )
    except (ConnectionError, ValueError, RuntimeError):
        raise RayClusterError(
            f"expected a Ray cluster at {address or 'this machine'}, got none that answers and has the same versions of"
            " Python and Ray: start it (ray start --head), or leave out --address"
        ) from None
    try:
        yield RayEngine(ray, bool(address), n_workers, log)
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class RayEngine:
    """Tasks of a Ray cluster whose nodes see the cohort and this Python at the paths of this machine, and the home too,
    where its tables and files do not lie in stores. A task asks for a core and for the memory of one worker, so that no
    node gets more of them than it has room for.

    Args:
        ray: the package, connected to a cluster.
        is_shared: the cluster has memory and cores to give; else it is this machine with `n_workers`.
        n_workers: tasks at once where the cluster is this machine alone.
        log: gets what is told of tasks that are tried again.
    """

    ray: Any
    is_shared: bool
    n_workers: int
    log: logging.Logger

    def run(self, work: Work, shards: Sequence[int], sizes: Mapping[int, int]) -> Iterator[Finished[list[StageDone]]]:
        """Each shard as it is done; see `LocalEngine.run`."""
        home = work.source.paths
        mark = home.root / f".seen-{secrets.token_hex(8)}"
        mark.touch()
        try:
            ordered = sorted(shards, key=lambda shard: (-sizes.get(shard, 0), shard))
            tasks = [Task(shard_title(shard), partial(work.shard, shard), shard) for shard in ordered]
            n_at_once = min(len(tasks), self._room())
            environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_RAY)}
            sent = self.ray.put(packed(work.source)) if has_stores(home) else None
            yield from self._finished(tasks, _Call(work, str(mark), n_at_once, environment), sent)
        finally:
            mark.unlink(missing_ok=True)

    def _finished(self, tasks: Sequence[Task[list[StageDone]]], call: "_Call", sent: Any) -> Iterator[Finished[Any]]:
        """Every task as it is finished; after a request to stop none, and those that have begun end.

        Args:
            sent: reference to what is sent of the home to nodes that need not see it; null: they do.
        """
        ray, memory = self.ray, int(GB_PER_WORKER * 1e9) if self.is_shared else None
        remote = ray.remote(num_cpus=1, memory=memory, max_retries=0)(_do)
        home, locks = call.work.source.paths, {task.key: ExitStack() for task in tasks}

        def begun(task: Task[list[StageDone]]) -> Any:
            if sent is None:
                return remote.remote(call, task.key, None, None)
            locks[task.key].enter_context(shard_lock(home, task.key))
            return remote.remote(call, task.key, sent, read_outcomes_file(home, task.key))

        with ExitStack() as held:
            for lock in locks.values():
                held.callback(lock.close)
            yield from self._waited(tasks, begun, home if sent is not None else None, locks)

    def _waited(
        self,
        tasks: Sequence[Task[list[StageDone]]],
        begun: Callable[[Task[list[StageDone]]], Any],
        home: Home | None,
        locks: Mapping[int, ExitStack],
    ) -> Iterator[Finished[Any]]:
        """Every task as it is finished.

        Args:
            tasks: shards to do.
            begun: begins one, and gives what stands for its result.
            home: where what a task noted is written; null where it has done that itself.
            locks: of the shards that are out; each is let go once its task is over.
        """
        ray, tries = self.ray, Counter[int]()
        waiting = {begun(task): task for task in tasks}
        while waiting:
            if stop_is_requested():
                for reference in waiting:
                    ray.cancel(reference)
                return
            for reference in ray.wait(list(waiting), timeout=_LOOK_EVERY_S)[0]:
                task = waiting.pop(reference)
                tries[task.key] += 1
                try:
                    value, noted = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    yield Finished(task, error=RayClusterError(_NOT_STARTED.format(task.name, type(error.cause))))
                except ray.exceptions.RayError as error:
                    words = f"its process or node died ({type(error).__name__})"
                    if tries[task.key] < MOST_TRIES:
                        self.log.warning("%s: %s; it is tried again", task.name, words)
                        locks[task.key].close()
                        waiting[begun(task)] = task
                    else:
                        yield Finished(task, error=WorkerDiedError(f"{task.name}: {words}, {_TO_DO}"))
                else:
                    if home is not None:
                        write_outcomes_file(home, task.key, noted)
                        locks[task.key].close()
                    yield Finished(task, error=value) if isinstance(value, Exception) else Finished(task, value)

    def _room(self) -> int:
        """Tasks that the cluster, as it is now, does at once, at least 1."""
        if not self.is_shared:
            return self.n_workers
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        rooms = [int(min(node.get("CPU", 0), node.get("memory", 0) / 1e9 / GB_PER_WORKER)) for node in nodes]
        if not any(rooms):
            self.log.warning(
                "expected a node of the Ray cluster with a core and %s GB of memory, got none: nothing begins before"
                " one is there",
                GB_PER_WORKER,
            )
        return max(1, sum(rooms))


_TO_DO = f"the last of {MOST_TRIES} tries: see whether memory ran out, or leave that exam out"
_NOT_STARTED = (
    "{}: expected nodes that have this Python environment at the same path, got {}: install it there, or put it on a"
    " disk that all nodes see"
)


@dataclass(frozen=True)
class _Call:
    """What each task gets to know."""

    work: Work
    mark: str
    n_at_once: int
    environment: Mapping[str, str]


def _do(
    call: _Call, shard: int, sent: Mapping[str, bytes] | None, noted: bytes | None
) -> tuple[list[StageDone] | Exception, bytes | None]:
    """(what was done of a shard, or its error; what is noted of it for the next publication); in a process of Ray.

    Args:
        call: of all shards.
        shard: the one to do.
        sent: what the work reads of the home, where this process need not see it; null: it sees it.
        noted: what was noted of the shard before.
    """
    if sent is None and not Path(call.mark).exists():
        error = RayClusterError(
            f"expected nodes that see {Path(call.mark).parent}, got {socket.gethostname()} that does not: put it on a"
            " disk that all nodes have at the same path, or tables and files into an object store (docs/storage.md)"
        )
        return error, noted
    if not call.work.source.cohort_folder.is_dir():
        return RayClusterError(
            f"expected nodes that see {call.work.source.cohort}, got {socket.gethostname()} that does not: mount it"
            " there at the same path"
        ), noted
    os.environ.update(call.environment)
    share_limits(call.n_at_once)
    reporter = LocalReporter(logging.getLogger("petar.ray"), ignore)
    try:
        if sent is None:
            return call.work.shard(shard, reporter), None
        work = replace(call.work, source=unpacked(call.work.source, sent))
        write_outcomes_file(work.source.paths, shard, noted)
        done = work.shard(shard, reporter)
        return done, read_outcomes_file(work.source.paths, shard)
    except Exception as error:
        return portable(error), noted
