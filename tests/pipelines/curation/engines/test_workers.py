"""How many workers a machine has room for."""

from pathlib import Path

import pytest

from pipelines.curation.engines.workers import default_workers, free_memory_gb


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


def test_there_is_always_one() -> None:
    assert default_workers() >= 1
