"""A real Slurm of one node: a curation with killed tasks, a drained node, the resume, and tables equal to the byte;
stages of training, one behind the other.
"""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.progress import Unwatched
from assets.resources import Workspace
from assets.training_jobs import TrainingCall, training_scripts
from model.petar.checkpoints import read_contract
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.curate import Failures, curate_stale
from pipelines.curation.engines.batch import new_folder
from pipelines.curation.engines.local import LocalEngine
from pipelines.curation.engines.slurm import SlurmOptions
from pipelines.curation.engines.slurm import submit as submit_scripts
from pipelines.curation.run import stale_shards
from pipelines.curation.source import CurationSource
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.review.stage_details import stage_details
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.model.conftest import write_lake
from tests.support import slurm_node
from tests.support.curated_files import curated_files
from tests.support.paths import ROOT
from tests.support.slurm_node import SlurmNode

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def node() -> Iterator[SlurmNode]:
    if missing := slurm_node.missing():
        pytest.skip(f"needs Slurm and munge (Debian: slurm-wlm munge), got no {', '.join(missing)}")
    with slurm_node.slurm_node() as started:
        yield started


def curate(node: SlurmNode, cohort: Path, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "assets.cli", "curate", "--cohort", str(cohort), "--home", str(home), *options]
    return subprocess.run(command, cwd=ROOT, env=dict(node.environment), capture_output=True, text=True, check=False)


def submit(node: SlurmNode, cohort: Path, home: Path, *more: str) -> list[str]:
    """Ids of the jobs of a submission."""
    done = curate(node, cohort, home, "--engine", "slurm", "--chunks", "2", "--cpus", "1", *more)
    assert done.returncode == 0, done.stderr
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  job ")]


def log_of(home: Path, job: str) -> str:
    (path,) = (home / "batches").glob(f"*/*-{job}.log")
    return path.read_text()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three exams of two patients."""
    folder = tmp_path_factory.mktemp("cluster") / "cohort"
    write_cohort(folder, PhantomSettings(n_patients=2, n_exams=3, size="small", with_faults=False))
    return folder


@pytest.fixture(scope="module")
def locally(cohort: Path) -> Path:
    """A home that this process curated."""
    source = CurationSource(str(cohort), str(cohort.parent / "local"))
    observe_cohort(cohort, source.paths.manifest)
    failures, engine = Failures(), LocalEngine(1, logging.getLogger("tests.slurm"))
    for _ in curate_stale(source, engine, stage_details, Unwatched(), failures):
        pass
    assert failures.errors == {}
    return Path(source.home)


def test_a_killed_task_and_a_drained_node_cost_a_second_submission_and_no_byte(
    node: SlurmNode, cohort: Path, locally: Path, tmp_path: Path
) -> None:
    home = tmp_path / "a home"
    first, *_, last = submit(node, cohort, home)
    # Slurm calls a task running before its script is; killed by then it is only begun again.
    node.wait_until(
        lambda: (f"{first}_0", "RUNNING") in node.jobs() and any((home / "batches").glob(f"*/*-{first}_0.log")),
        "the script of the first task",
    )
    node.call("scontrol", "update", f"nodename={node.host}", "state=drain", "reason=test")
    node.call("scancel", "--signal=KILL", "--full", f"{first}_0")
    node.wait_until(lambda: all(state == "PENDING" for _, state in node.jobs()), "the tasks that had begun")
    assert {job for job, _ in node.jobs()} > {last}
    assert not (home / "petar.duckdb").exists()

    node.call("scontrol", "update", f"nodename={node.host}", "state=resume")
    node.wait_until(lambda: not node.jobs(), "the jobs after the drained node came back")
    assert "task 0 of its job was ended" in log_of(home, last)
    assert "FAILED: curate" in log_of(home, last)
    assert (home / "petar.duckdb").exists()
    source = CurationSource(str(cohort), str(home))
    n_stale = len(stale_shards(source.open()))
    assert 0 < n_stale < 64

    again = submit(node, cohort, home)
    node.wait_until(lambda: not node.jobs(), "the second submission")
    assert stale_shards(source.open()) == []
    assert curated_files(home) == curated_files(locally)
    assert "FAILED" not in log_of(home, again[-1])


def test_a_second_submission_waits_for_the_first(node: SlurmNode, cohort: Path, locally: Path) -> None:
    (one,) = submit(node, cohort, locally, "--sbatch=--hold")
    (two,) = submit(node, cohort, locally)
    shown = node.call("scontrol", "show", "job", two)
    node.call("scancel", one, two)
    assert "Dependency=singleton" in shown


def test_a_home_that_the_node_does_not_see_is_an_error_and_nothing_is_submitted(node: SlurmNode, cohort: Path) -> None:
    if node.hidden is None:
        pytest.skip("needs the right to mount")
    done = curate(node, cohort, node.hidden / "home", "--engine", "slurm")
    assert done.returncode == 1
    assert f"expected nodes that see {node.hidden / 'home'}, got one that does not" in done.stderr
    assert node.jobs() == []
    assert not (node.hidden / "home" / "manifest").exists()


def test_options_that_the_cluster_refuses_leave_nothing_in_the_queue(
    node: SlurmNode, cohort: Path, tmp_path: Path
) -> None:
    done = curate(node, cohort, tmp_path, "--engine", "slurm", "--partition", "none")
    assert done.returncode == 1
    assert "expected sbatch to take phase-1, got: " in done.stderr
    assert node.jobs() == []
    assert not any((tmp_path / "batches").iterdir())


def test_stages_of_training_go_on_from_each_other_and_are_trained_once(
    node: SlurmNode, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "a home")
    Lake(home.lake).write_table("samples", write_lake(home).samples)
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, node.environment[name])
    changes = ["training.epochs = 1", "training.language_steps = 0", "training.validation_samples = 2"]
    call = TrainingCall(SlurmOptions(cpus=1), nodes=1, gpus=0, changes=changes)
    workspace = Workspace(cohort=str(cohort), home=str(home.root))
    checkpoints = home.checkpoints / "findings_mask", home.checkpoints / "findings_full"
    written: list[float] = []
    for _ in range(2):
        folder = new_folder(home.batches, "train")
        scripts = [s for s in training_scripts(workspace, call, folder) if s.name in ("findings_mask", "findings_full")]
        submit_scripts(scripts, folder)
        node.wait_until(lambda: not node.jobs(), "the stages")
        logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
        assert all((one / "checkpoint" / "model.safetensors").is_file() for one in checkpoints), logs
        written.append((checkpoints[1] / "checkpoint" / "model.safetensors").stat().st_mtime)
    assert written[0] == written[1]
    assert read_contract(checkpoints[1] / "checkpoint").config.name == "tiny"
