"""How many worker processes a machine has room for."""

import os
from contextlib import suppress
from pathlib import Path

GB_PER_WORKER = 2.5
"""Free memory for each worker [GB]: the largest total-body exam with its CT, while it is read and contoured."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def default_workers() -> int:
    """As many workers as there are cores that this process may use and free memory for, at least one."""
    cores, free_gb = len(os.sched_getaffinity(0)), free_memory_gb()
    return max(1, cores if free_gb is None else min(cores, int(free_gb / GB_PER_WORKER)))


def free_memory_gb(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> float | None:
    """Memory that this process may still take [GB], by the machine and by its control group (a container, a job of a
    cluster); null where the system does not tell.
    """
    found = []
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024 / 1e9)
    with suppress(OSError, ValueError):
        most, used = (int((cgroup / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append((most - used) / 1e9)
    return min(found, default=None)
