"""Dagster's run launcher, which also gives pools their limits and tells the daemon when the process of a run is gone.

A limit of a pool lies in Dagster's storage and not in its settings, which know one default for all. What dagster.yaml
says here is written there before the first run starts, unless somebody has set that limit in the UI.

A process that is killed leaves its run "started", and the run holds a place of the queue. The command line closes such
runs of its own (`assets.instance`); those that the daemon launched are closed by Dagster's run monitoring, which asks
here. Every process of Dagster loads this module, so it imports nothing else of the project.
"""

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher, Field

from assets.dagster_internals import (
    GRPC_INFO_TAG,
    CheckRunHealthResult,
    ConfigurableClassData,
    LaunchRunContext,
    WorkerStatus,
)

_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")


class Launcher(DefaultRunLauncher):
    """What dagster.yaml names; runs are processes of the daemon's machine. `pools`: how many runs may be in one."""

    def __init__(
        self, inst_data: ConfigurableClassData | None = None, pools: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        super().__init__(inst_data)
        self._pools = dict(pools)
        self._are_limited = False

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {"pools": Field({str: int}, is_required=False, default_value={})}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data, config_value["pools"])

    def launch_run(self, context: LaunchRunContext) -> None:
        """Starts a run; before the first one the pools are given their limits."""
        if not self._are_limited:
            self._limit_pools()
            self._are_limited = True
        super().launch_run(context)

    def _limit_pools(self) -> None:
        storage = self._instance.event_log_storage
        chosen = {pool.name for pool in storage.get_pool_limits() if not pool.from_default}
        for name in self._pools.keys() - chosen:
            storage.set_concurrency_slots(name, self._pools[name])

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
