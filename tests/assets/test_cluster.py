"""`petar curate --engine slurm` on a machine without Slurm: what it prints, and what it refuses."""

from pathlib import Path

import pytest

from assets.cli import main


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "reports.csv").write_text("exam_id,patient_id,findings\nE1,P1,No focus.\n")
    return folder


def call(cohort: Path, *more: str) -> int:
    home = str(cohort.parent / "home")
    return main(["curate", "--cohort", str(cohort), "--home", home, *more])


def test_prints_the_scripts_and_writes_nothing(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--engine", "slurm", "--dry-run", "--partition", "cpu", "--chunks", "3", "--cpus", "8", "--mem", "20G"]
    assert call(cohort, *asked) == 0
    printed = capsys.readouterr().out
    for line in ("--array=0-2", "--cpus-per-task=8", "--mem=20G", "--partition=cpu"):
        assert f"#SBATCH {line}\n" in printed
    assert printed.count("#!/bin/bash") == 4
    assert not (cohort.parent / "home").exists()


def test_without_sbatch_is_an_error_before_anything_is_written(
    cohort: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(cohort))
    assert call(cohort, "--engine", "slurm") == 1
    assert "expected sbatch on the PATH, got none" in capsys.readouterr().err
    assert not (cohort.parent / "home").exists()


@pytest.mark.parametrize("option", ["--workers", "--chunks", "--cpus"])
def test_none_of_something_is_a_wrong_call(cohort: Path, option: str) -> None:
    assert call(cohort, "--engine", "slurm", option, "0") == 2
    assert not (cohort.parent / "home").exists()


def test_options_of_a_cluster_without_one_are_an_error(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(cohort, "--partition", "cpu", "--dry-run") == 1
    assert "expected --partition, --dry-run with --engine slurm, got --engine local" in capsys.readouterr().err


def test_an_address_without_ray_is_an_error(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(cohort, "--engine", "slurm", "--address", "auto", "--dry-run") == 1
    assert "expected --address with --engine ray, got --engine slurm" in capsys.readouterr().err


def test_a_wrong_cohort_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curate", "--cohort", str(tmp_path / "none"), "--home", str(tmp_path), "--engine", "slurm"]) == 1
    assert "expected a cohort folder" in capsys.readouterr().err
