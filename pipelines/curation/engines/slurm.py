"""Jobs of a Slurm cluster: batch scripts, and what is asked of `sbatch` and `srun`.

    array of phase 1 -> (any end) plan -> (any end) array of phase 2 -> (any end) publish

A task that is killed leaves its shards stale; submitting again is the resume. Jobs of one home have one name, and the
first of a submission waits for all earlier ones of that name (`singleton`), so that two submissions take turns.
Source of the options: sbatch(1), Slurm 22.05 to 25.05.
"""

import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.curation.engines.batch import Batch
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of

LOOK_S = 60
"""Seconds within which a node must be free to look whether it sees the home."""

_NOT_SEEN = 3
_SHARED = ("account", "constraint", "qos", "reservation")
"""Further options that `srun` needs as `sbatch` does, to be given a node at all."""
_PETAR = (sys.executable, "-m", "assets.cli")


class SlurmError(RuntimeError):
    """Something that keeps a submission from being made; nothing was submitted."""


@dataclass(frozen=True)
class SlurmOptions:
    """What is asked of the cluster for each task or job.

    Args:
        partition: empty: the cluster's default.
        chunks: tasks of an array at most, at least 1.
        cpus: cores of a task.
        memory: of a node, as Slurm writes it (10G); empty: the cluster's default.
        time: limit, as Slurm writes it (8:00:00); empty: the partition's.
        more: further options of sbatch, as written for it (--account=lab).
    """

    partition: str = ""
    chunks: int = 16
    cpus: int = 4
    memory: str = ""
    time: str = ""
    more: Sequence[str] = ()

    def directives(self, folder: Path) -> list[str]:
        """Options of sbatch that all scripts have."""
        named = {"partition": self.partition, "mem": self.memory, "time": self.time}
        return [
            f"--cpus-per-task={self.cpus}",
            *(f"--{name}={value}" for name, value in named.items() if value),
            f"--output={folder}/%x-%j.log",
            f"--chdir={folder}",
            *self.more,
        ]


@dataclass(frozen=True)
class Script:
    """A batch script: its name, its options of sbatch, what it runs, and remarks for who reads it.

    Args:
        after: how it depends on the script before: `afterany`, `afterok`.
    """

    name: str
    directives: Sequence[str]
    commands: Sequence[str]
    remarks: Sequence[str] = field(default_factory=tuple)
    after: str = "afterany"

    def text(self) -> str:
        """The script as sbatch takes it."""
        options = [f"#SBATCH {_quoted(directive)}" for directive in self.directives]
        remarks = [f"# {remark}" for remark in self.remarks]
        return "\n".join(["#!/bin/bash", *options, *remarks, "set -eu", *self.commands, ""])


def job_name(home: Path, kind: str) -> str:
    """Name of the jobs of a home."""
    return f"petar-{kind}-{hash_of(str(home.resolve()))[:8]}"


def curation_scripts(
    batch: Batch, options: SlurmOptions, chunks: Mapping[int, Sequence[Sequence[int]]]
) -> list[Script]:
    """The scripts of a curation, in the order in which they are submitted; each waits for the one before.

    Args:
        batch: what is submitted.
        options: for each task, and for the jobs between.
        chunks: the shards of each task of the phases that are planned already.
    """
    common = [f"--job-name={job_name(Path(batch.source.home), 'curate')}", *options.directives(batch.folder)]
    scripts: list[Script] = []
    for phase, n_tasks in enumerate(batch.n_chunks):
        if not n_tasks:
            continue
        planned = chunks.get(phase)
        if planned is None:
            plan = petar_command("batch", "plan", str(batch.folder), "--phase", str(phase + 1))
            scripts.append(Script(f"plan-{phase + 1}", common, [plan]))
        remarks = [f"task {n}: shards {' '.join(f'{s:02d}' for s in chunk)}" for n, chunk in enumerate(planned or ())]
        work = petar_command("batch", "work", str(batch.folder), "--phase", str(phase + 1))
        log = f"--output={batch.folder}/%x-%A_%a.log"
        scripts.append(
            Script(
                f"phase-{phase + 1}",
                [*common, f"--array=0-{n_tasks - 1}", log],
                [f'{work} --chunk "$SLURM_ARRAY_TASK_ID"'],
                remarks or [f"the shards of each task are planned by plan-{phase + 1}"],
            )
        )
    return [*scripts, Script("publish", common, [petar_command("batch", "publish", str(batch.folder))])]


def petar_command(*arguments: str) -> str:
    """A line of a script that calls `petar` with the interpreter of this process."""
    return shlex.join([*_PETAR, *arguments])


def check_sbatch() -> None:
    """Nothing where jobs can be submitted from this machine.

    Raises:
        SlurmError: no sbatch.
    """
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise SlurmError(f"expected {program} on the PATH, got none: submit from a machine of the cluster")


def check_nodes_see(folder: Path, more: Sequence[Path], options: SlurmOptions) -> str:
    """A warning where no node was free to look; empty where one looked and saw everything.

    Args:
        folder: a file is written to it for the node to find: a path alone may be another disk there.
        more: further files and folders that the jobs need.
        options: what the jobs ask for.

    Raises:
        SlurmError: a node that does not see one of them.
    """
    partition = [f"--partition={options.partition}"] if options.partition else []
    shared = [one for one in options.more if one.lstrip("-").split("=")[0] in _SHARED]
    asked = ["srun", "--quiet", "--ntasks=1", f"--immediate={LOOK_S}", "--time=1", "--chdir=/", *partition, *shared]
    script = f'for path in "$@"; do test -e "$path" || {{ echo "$path"; exit {_NOT_SEEN}; }}; done'
    mark = folder / f".seen-{secrets.token_hex(8)}"
    mark.touch()
    try:
        paths = [str(path) for path in (mark, *more)]
        found = _call(*asked, "sh", "-c", script, "sh", *paths)
    finally:
        mark.unlink(missing_ok=True)
    if found.returncode == _NOT_SEEN:
        path = found.stdout.strip()
        raise SlurmError(
            f"expected nodes that see {folder if path == paths[0] else path}, got one that does not: put it on a disk"
            " that all nodes have at the same path"
        )
    if found.returncode:
        return (
            f"no node looked whether it sees {folder} ({_first_line(found.stderr)}); a job that does not see it fails"
        )
    return ""


def check_cluster(home: Path, more: Sequence[Path], options: SlurmOptions, say: Callable[[str], None]) -> None:
    """Nothing where jobs can be submitted from here and see the home; it is made where it is not there.

    Args:
        home: of the curation.
        more: further files and folders that the jobs need, beside this Python.
        options: what the jobs ask for.
        say: gets a warning where no node was free to look.

    Raises:
        SlurmError: no sbatch, or a node that does not see one of them.
    """
    check_sbatch()
    home.mkdir(parents=True, exist_ok=True)
    if warning := check_nodes_see(home, [*more, Path(sys.executable)], options):
        say(f"warning: {warning}")


def submit_from(
    folder: Path, scripts: Sequence[Script], say: Callable[[str], None] = lambda line: None, first: str = "singleton"
) -> list[str]:
    """Ids of the jobs, as `submit`; the folder of a submission that the cluster refuses is removed.

    Args:
        folder: of this submission alone.
        scripts: in their order.
        say: gets a line a job.
        first: what the first depends on; empty: nothing.

    Raises:
        SlurmError: see `submit`.
    """
    try:
        ids = submit(scripts, folder, first)
    except SlurmError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for script, job in zip(scripts, ids, strict=True):
        say(f"  job {job}   {script.name}")
    return ids


def submit(scripts: Sequence[Script], folder: Path, first: str = "singleton") -> list[str]:
    """Ids of the jobs, submitted in order, each to begin after the one before, and the first after all of its name.

    Args:
        scripts: in their order.
        folder: where they are written to.
        first: what the first depends on; empty: nothing.

    Raises:
        SlurmError: sbatch refused one; those before it are cancelled.
    """
    found: list[str] = []
    for script in scripts:
        path = folder / f"{script.name}.sh"
        atomic.write_bytes(path, script.text().encode())
        dependency = f"{script.after}:{found[-1]}" if found else first
        made = _call("sbatch", "--parsable", *([f"--dependency={dependency}"] if dependency else []), str(path))
        if made.returncode:
            if found:
                _call("scancel", *found)
            raise SlurmError(
                f"expected sbatch to take {script.name}, got: {_first_line(made.stderr)}: correct the options of the"
                " call; nothing is left in the queue"
            )
        found.append(made.stdout.strip().split(";")[0])
    return found


def printed(scripts: Sequence[Script], first: str = "singleton") -> str:
    """The scripts with their dependencies, for who wants to see them first."""
    found, before = [], ""
    for script in scripts:
        dependency = f"{script.after}:<id of {before}>" if before else first
        option = f" --dependency={dependency}" if dependency else ""
        found.append(f"### {script.name}.sh: sbatch --parsable{option}\n{script.text()}")
        before = script.name
    return "\n".join(found)


def _quoted(directive: str) -> str:
    """An option as sbatch reads it from a script: a value with spaces in quotes."""
    name, equals, value = directive.partition("=")
    return f"{name}{equals}{shlex.quote(value)}" if " " in value else directive


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def _first_line(words: str) -> str:
    return next((line.strip() for line in words.splitlines() if line.strip()), "no reason")
