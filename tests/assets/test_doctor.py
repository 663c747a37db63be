"""What `petar doctor` finds on a machine."""

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
