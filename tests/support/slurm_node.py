"""A Slurm cluster of one node, this machine, that a test starts and ends: munged, slurmctld and slurmd as its children.

No cgroups, no accounting, no systemd; what Debian's `slurm-wlm` and `munge` bring is enough. A node of four cores is
told of, however many there are.
"""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_PATIENCE_S = 60.0

_CONFIG = """\
ClusterName=petar
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmctldPort={port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
SwitchType={switch}
MpiDefault=none
KillWait=2
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8000
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Programs of Slurm that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PLACES) is None]


@dataclass
class SlurmNode:
    """The cluster; `environment` has its commands find it."""

    folder: Path
    environment: Mapping[str, str]
    host: str
    hidden: Path | None = None
    """A folder that this process sees and the node does not; null where that takes rights that are not there."""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def call(self, *command: str) -> str:
        """Standard output of a command of Slurm."""
        done = subprocess.run(
            command, env=dict(self.environment), capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{command}: {done.stderr}\n{self.logs()}"
        return done.stdout

    def jobs(self) -> list[tuple[str, str]]:
        """(id, state) of the jobs that are not done; of an array one for each task that runs."""
        lines = self.call("squeue", "--noheader", "--format=%i %T").splitlines()
        return [(line.split()[0], line.split()[1]) for line in lines]

    def wait_until(self, condition: Callable[[], object], what: str, within_s: float = 540.0) -> None:
        """Waits; fails with the logs where it waits in vain."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}\n{self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        """The end of what the daemons wrote, and the queue."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in files)

    def start(self, *command: str) -> None:
        """Starts a daemon in the foreground, as a child."""
        program = shutil.which(command[0], path=_PLACES)
        assert program is not None
        with (self.folder / f"{command[0]}-said.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen([program, *command[1:]], env=dict(self.environment), stdout=log, stderr=log)
            )

    def end(self) -> None:
        """Cancels what is left of the jobs, and ends the daemons, the last one first."""
        if _is_up(self):
            self.call("scancel", "--full", f"--user={getpass.getuser()}")
            deadline = time.monotonic() + _PATIENCE_S
            while self.jobs() and time.monotonic() < deadline:
                time.sleep(0.2)
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


@contextmanager
def slurm_node() -> Iterator[SlurmNode]:
    """A cluster that takes jobs."""
    # Sockets have short paths, which pytest's own folders would be too long for.
    folder = Path(tempfile.mkdtemp(prefix="petar-slurm-"))
    host = socket.gethostname().split(".")[0]
    try:
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        environment = {**os.environ, "PATH": _PLACES, "SLURM_CONF": str(folder / "slurm.conf")}
        (hidden := folder / "hidden").mkdir()
        may_hide = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", str(hidden)]
        can_hide = subprocess.run(may_hide, capture_output=True, check=False).returncode == 0
        node = SlurmNode(folder, environment, host, hidden if can_hide else None)
        switch = "switch/none" if _version(environment) < (23, 11) else ""
        values = {"host": host, "user": getpass.getuser(), "folder": folder, "switch": switch}
        text = _CONFIG.format(port=_free_port(), node_port=_free_port(), **values)
        lines = [line for line in text.splitlines() if not line.endswith("=")]
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        if _version(environment) >= (23, 2):
            (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        try:
            _start(node, folder)
            yield node
        finally:
            node.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(node: SlurmNode, folder: Path) -> None:
    names = ("socket", "munge.sock"), ("key-file", "munge.key"), ("log-file", "munged.log"), ("pid-file", "munged.pid")
    options = [f"--{option}={folder / name}" for option, name in (*names, ("seed-file", "munge.seed"))]
    node.start("munged", "--foreground", "--force", *options)
    node.wait_until((folder / "munge.sock").exists, "munged", _PATIENCE_S)
    node.start("slurmctld", "-D")
    slurmd = shutil.which("slurmd", path=_PLACES)
    if node.hidden is None:
        node.start("slurmd", "-D", "-N", node.host)
    else:
        hide = f'mount -t tmpfs none "{node.hidden}" && exec "{slurmd}" -D -N "{node.host}"'
        node.start("unshare", "--mount", "sh", "-c", hide)
    node.wait_until(lambda: _is_idle(node), "an idle node", _PATIENCE_S)


def _is_up(node: SlurmNode) -> bool:
    """Whether the cluster answers."""
    if len(node._processes) < len(("munged", "slurmctld", "slurmd")):
        return False
    return (
        subprocess.run(["scontrol", "ping"], env=dict(node.environment), capture_output=True, check=False).returncode
        == 0
    )


def _is_idle(node: SlurmNode) -> bool:
    asked = ["sinfo", "--noheader", "--format=%t"]
    found = subprocess.run(asked, env=dict(node.environment), capture_output=True, text=True, check=False)
    return found.stdout.strip() == "idle"


def _version(environment: Mapping[str, str]) -> tuple[int, ...]:
    program = shutil.which("slurmd", path=_PLACES)
    assert program is not None
    words = subprocess.run([program, "-V"], env=dict(environment), capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in words.split()[-1].split(".")[:2])


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
