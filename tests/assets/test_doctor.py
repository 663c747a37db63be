"""What `petar doctor` finds on a machine."""

import errno
from pathlib import Path

import pytest

from assets.cli import main
from assets.doctor import examine


def test_says_what_is_missing_and_what_it_would_enable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PETAR_POSTGRES_URL", "postgresql://me:secret@db.example:5432/petar")
    monkeypatch.setenv("DAGSTER_HOME", "/elsewhere")
    found = {finding.part: finding for finding in examine(tmp_path / "home")}
    assert not found["chromium"].is_there
    assert "review pages" in found["chromium"].enables
    assert not found["GPU"].is_there
    assert found["PostgreSQL"].found == "db.example/petar"
    assert not found["DAGSTER_HOME"].is_there
    assert str(tmp_path / "home" / "dagster") in found["DAGSTER_HOME"].enables
    assert found["disk"].found.endswith(f"at {tmp_path}")
    assert found["locks"].is_there
    assert found["locks"].found.startswith(f"flock holds between two processes at {tmp_path} (")
    assert not list(tmp_path.glob(".petar-lock-*"))


def test_locks_that_keep_nobody_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.doctor.fcntl.flock", lambda handle, operation: None)
    found = {finding.part: finding for finding in examine(tmp_path)}
    assert not found["locks"].is_there
    assert "does not keep a second process out" in found["locks"].found


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("assets.doctor.fcntl.flock", refuse)
    found = {finding.part: finding for finding in examine(tmp_path)}
    assert found["locks"].found == f"none at {tmp_path}: Function not implemented"


def test_needed_packages_decide_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("assets.doctor.requires", lambda name: ["typer", "no-such-package>=1", "s3fs ; extra == 's3'"])
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "missing: no-such-package" in printed
    monkeypatch.setattr("assets.doctor.requires", lambda name: ["typer", "no-such-package ; extra == 's3'"])
    assert main(["doctor"]) == 0
    assert "petar[s3]" in capsys.readouterr().out
