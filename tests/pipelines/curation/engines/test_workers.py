"""How many workers a machine has room for."""

from pathlib import Path

import pytest

from pipelines.curation.engines.workers import default_workers, free_memory_gb, job_limits


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       32000000 kB\nMemAvailable:    9765625 kB\n")
    return path


def test_free_memory_is_that_of_the_machine(meminfo: Path, tmp_path: Path) -> None:
    assert free_memory_gb(meminfo, tmp_path / "none") == pytest.approx(10.0)


def test_a_control_group_may_have_less(meminfo: Path, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("6000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert free_memory_gb(meminfo, tmp_path) == pytest.approx(5.0)


def test_a_control_group_without_a_limit_says_nothing(meminfo: Path, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert free_memory_gb(meminfo, tmp_path) == pytest.approx(10.0)


def test_memory_that_the_system_does_not_tell_is_unknown(tmp_path: Path) -> None:
    assert free_memory_gb(tmp_path / "none", tmp_path / "none") is None


def test_the_own_control_group_counts_and_those_above_it(meminfo: Path, tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("12:cpu:/old\n0::/system.slice/slurmstepd.scope/job_7/step_batch\n")
    job = tmp_path / "system.slice" / "slurmstepd.scope" / "job_7"
    (job / "step_batch").mkdir(parents=True)
    (job / "memory.max").write_text("4000000000\n")
    (job / "memory.current").write_text("1000000000\n")
    assert free_memory_gb(meminfo, tmp_path, own) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("variables", "limits"),
    [
        ({}, (None, None)),
        ({"SLURM_CPUS_PER_TASK": "8"}, (8, None)),
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_MEM_PER_NODE": "1000"}, (8, 1.048576)),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_CPU": "1000"}, (2, 4.194304)),
        ({"SLURM_CPUS_PER_TASK": "many", "SLURM_MEM_PER_NODE": "0"}, (None, None)),
    ],
)
def test_a_job_of_slurm_says_what_it_has(variables: dict[str, str], limits: tuple[int | None, float | None]) -> None:
    assert job_limits(variables) == limits


def test_a_job_has_as_many_as_its_cores_and_memory_take() -> None:
    assert default_workers({"SLURM_CPUS_PER_TASK": "1"}) == 1
    assert default_workers({"SLURM_CPUS_PER_TASK": "64", "SLURM_MEM_PER_NODE": "3000"}) == 1


def test_there_is_always_one() -> None:
    assert default_workers() >= 1
