"""How many worker processes a machine, or a job's part of one, has room for."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

GB_PER_WORKER = 2.5
"""Free memory for each worker [GB]: the largest total-body exam with its CT, while it is read and contoured."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def default_workers(environment: Mapping[str, str] = os.environ) -> int:
    """As many workers as there are cores that this process may use and free memory for, at least one.

    Args:
        environment: of a job of Slurm it says how many cores and how much memory the job has.
    """
    cores, free_gb = len(os.sched_getaffinity(0)), free_memory_gb()
    job_cores, job_gb = job_limits(environment)
    if job_cores is not None:
        cores = min(cores, job_cores)
    found = [gb for gb in (free_gb, job_gb) if gb is not None]
    return max(1, min(cores, int(min(found) / GB_PER_WORKER)) if found else cores)


def job_limits(environment: Mapping[str, str]) -> tuple[int | None, float | None]:
    """Cores of a task and memory [GB] of a job of Slurm, by the variables that it sets (sbatch(1), "output environment
    variables"; memory in MiB); null where it sets none. Not every cluster binds or bars what goes beyond.
    """

    def number(name: str) -> int | None:
        value = environment.get(name, "")
        return int(value) if value.isdecimal() and int(value) > 0 else None

    cores, each = number("SLURM_CPUS_PER_TASK"), number("SLURM_MEM_PER_CPU")
    whole = number("SLURM_MEM_PER_NODE") or (each * (number("SLURM_CPUS_ON_NODE") or cores or 1) if each else None)
    return cores, whole * 1024**2 / 1e9 if whole else None


def free_memory_gb(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP, own: Path = _OWN_CGROUP) -> float | None:
    """Memory that this process may still take [GB], by the machine and by its control groups (a container, a job of a
    cluster), its own and those above; null where the system does not tell.
    """
    found = []
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024 / 1e9)
    for folder in _control_groups(cgroup, own):
        with suppress(OSError, ValueError):
            most, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
            found.append((most - used) / 1e9)
    return min(found, default=None)


def _control_groups(cgroup: Path, own: Path) -> list[Path]:
    """Folders of the control groups (version 2) that this process is in."""
    try:
        line = next(line for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return [cgroup]
    name = Path(line.removeprefix("0::").lstrip("/"))
    return [cgroup / part for part in (name, *name.parents)]
