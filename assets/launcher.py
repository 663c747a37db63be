"""Dagster's run launcher, which also tells the daemon when the process of a run is gone.

A process that is killed leaves its run "started", and the run holds a place of the queue. The command line closes such
runs of its own (`assets.instance`); those that the daemon launched are closed by Dagster's run monitoring, which asks
here. Every process of Dagster loads this module, so it imports nothing of the project.
"""

import os
import re

from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")


class Launcher(DefaultRunLauncher):
    """What dagster.yaml names; runs are processes of the machine of the daemon."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED where the process that executes a run is gone; RUNNING also where that can not be told."""
        pid = self._pid_of(run)
        if pid is None or _lives(pid):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            f"the process of this run ({pid}) is gone; what it finished is kept, the next run goes on from there",
        )

    def _pid_of(self, run: DagsterRun) -> int | None:
        """Process of a run that was launched here; None for one that a command line executes itself."""
        if GRPC_INFO_TAG not in run.tags:
            return None
        events = self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
        found = [match for event in events if (match := _STARTED.match(event.message))]
        return int(found[-1][1]) if found else None


def _lives(pid: int) -> bool:
    """Whether a process is there and has not ended; one that only waits to be seen off has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        # No /proc on this system.
        return True
