"""`petar train --engine slurm` on a machine without Slurm: what it prints, and what it refuses."""

import subprocess
from pathlib import Path

import pytest

from assets.cli import main
from model.petar.config import TRAINING_STAGES


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "a cohort"
    folder.mkdir()
    (folder / "reports.csv").write_text("exam_id,patient_id,findings\nE1,P1,No focus.\n")
    return folder


def call(cohort: Path, *more: str) -> int:
    return main(["train", "--cohort", str(cohort), "--home", str(cohort.parent / "home"), *more])


def test_prints_a_script_a_stage_each_behind_the_one_before(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--engine", "slurm", "--dry-run", "--nodes", "2", "--gpus", "8", "--partition", "gpu", "--time", "1:00:00"]
    assert call(cohort, *asked, "--set", "training.epochs = 3") == 0
    printed = capsys.readouterr().out
    _, *scripts = printed.split("### ")
    assert [script.split(".sh")[0] for script in scripts] == ["samples", *TRAINING_STAGES, "scores"]
    assert [script.split("\n")[0].split("--dependency=")[1] for script in scripts] == [
        "singleton",
        *(f"afterok:<id of {before}>" for before in ("samples", *TRAINING_STAGES)),
    ]
    for stage, script in zip(TRAINING_STAGES, scripts[1:-1], strict=True):
        for option in ("--nodes=2", "--gpus-per-node=8", "--partition=gpu", "--cpus-per-task=32", "--requeue"):
            assert f"#SBATCH {option}\n" in script
        assert "--nnodes=2 --nproc-per-node=8 " in script
        assert f"-m assets.cli model train --stage {stage} --cohort '{cohort}'" in script
        assert "--set 'training.epochs = 3'" in script
    assert "--gpus-per-node=1\n" in scripts[-1]
    assert "--gpus-per-node" not in scripts[0]
    for script in scripts:
        text = script.split("\n", 1)[1]
        assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert not (cohort.parent / "home").exists()


def test_without_gpus_a_process_a_node(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(cohort, "--engine", "slurm", "--dry-run", "--gpus", "0") == 0
    printed = capsys.readouterr().out
    assert "--nnodes=1 --nproc-per-node=1 " in printed
    assert "--gpus" not in printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "slurm", "--set", "preset = 'none'"], "for preset in [model] of --set"),
        (["--engine", "slurm", "--set", "stages.findings_full.epochs = -1"], "epochs"),
        (["--engine", "slurm"], "expected sbatch on the PATH, got none"),
        (["--engine", "ray"], "expected --engine local or slurm, got ray"),
        (["--gpus", "0", "--nodes", "2"], "expected --nodes, --gpus with --engine slurm, got --engine local"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    cohort: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("PATH", str(cohort))
    assert call(cohort, *options) == 1
    assert words in capsys.readouterr().err
    assert not (cohort.parent / "home").exists()


@pytest.mark.parametrize("option", ["--nodes", "--cpus"])
def test_none_of_something_is_a_wrong_call(cohort: Path, option: str) -> None:
    assert call(cohort, "--engine", "slurm", option, "0") == 2
