"""The commands and the code of docs/releases.md and docs/importing.md, run as they stand there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assets.cli import app
from pipelines.catalog.build import build_catalog
from pipelines.tables.home import Home
from tests.support.curations import curate_small
from tests.support.given_cohort import KEY, write_cohort_folder
from tests.support.imported_sets import autopet, bids, nnunet, table

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, language: str = "") -> list[str]:
    """The code blocks of a page in a language; those without one are commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return [text for named, text in found if named == language]


def run(line: str, patch: pytest.MonkeyPatch) -> str:
    """What a line of shell prints: variables, then `petar` with its arguments."""
    words = shlex.split(line)
    while "=" in words[0]:
        name, value = words.pop(0).split("=", 1)
        patch.setenv(name, os.path.expanduser(value))
    assert words[0] == "petar"
    if words[1] == "accept":
        # Dagster takes the process's outputs, which are pytest's here.
        command = [sys.executable, "-m", "assets.cli", *words[1:]]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, (line, done.output)
    return done.output


@dataclass(frozen=True)
class User:
    """Where a user stands, with a curated cohort in ./data; and what the commands of the page printed."""

    folder: Path
    said: list[str]


def prepare(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder)
    for name in ("PETAR_HOME", "PETAR_SETTINGS", "PETAR_ID_KEY_FILE"):
        patch.delenv(name, raising=False)
    patch.setenv("HOME", str(folder))
    patch.setenv("PETAR_COHORT", "cohort")
    patch.setenv("PYTHONPATH", str(DOCS.parent))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> User:
    root = tmp_path_factory.mktemp("user")
    write_cohort_folder(root / "cohort")
    home = Home(root / "data")
    curate_small(home, root / "cohort")
    build_catalog(home)
    (root / "petar.key").write_bytes(KEY)
    (commands,) = blocks("releases.md")
    with pytest.MonkeyPatch.context() as patch:
        prepare(root, patch)
        return User(root, [run(line, patch) for line in commands.splitlines()])


@pytest.fixture
def user(released: User, monkeypatch: pytest.MonkeyPatch) -> User:
    prepare(released.folder, monkeypatch)
    return released


class TestReleases:
    def test_commands_release_and_verify(self, released: User) -> None:
        assert "8 lesions in 4 exams of 4 patients" in released.said[1]
        assert released.said[2].startswith("verified")

    def test_code_loads_what_they_wrote(self, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
        datasets = pytest.importorskip("datasets")
        pytest.importorskip("webdataset")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", user.folder / "cache")
        (version,) = (path.name for path in (user.folder / "data" / "versions").iterdir() if path.is_dir())
        found: dict[str, Any] = {}
        for code in blocks("releases.md", "python"):
            exec(code.replace("1f0c...", version), found)
        assert {split: rows.num_rows for split, rows in found["lesions"].items()} == {
            **{"train": 4, "validation": 2, "test": 2}
        }
        assert next(iter(found["exams"]))["pet"].shape == (20, 20, 12)
        assert len(list(found["samples"])) == 1

    def test_verify_ends_with_an_error_that_names_the_file(self, user: User, tmp_path: Path) -> None:
        shutil.copytree(user.folder / "releases" / "2026-01", tmp_path / "out")
        path = next((tmp_path / "out" / "nnunet").rglob("*.nii.gz"))
        path.write_bytes(path.read_bytes()[:-1])
        done = CliRunner().invoke(app, ["verify", str(tmp_path / "out")])
        assert done.exit_code == 1
        assert f"{path.name}: was changed" in done.output

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["release", "none", "--to", "out"], "accepted are 2026-01"),
            (["release", "2026-01", "--to", "cohort"], "other files"),
            (["release", "2026-01", "--format", "csv"], "expected formats of parquet"),
            (["verify", "cohort"], "expected a release"),
        ],
    )
    def test_what_cannot_be_done_is_told(
        self, arguments: list[str], said: str, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PETAR_ID_KEY_FILE", str(user.folder / "petar.key"))
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 1
        assert said in " ".join(done.output.split())


class TestImports:
    def test_commands_import_each_layout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        commands = blocks("importing.md")[0].splitlines()
        names = {line.split()[2]: Path(line.split()[3]) for line in commands}
        for layout, write in (("nnunet", nnunet), ("autopet", autopet), ("bids", bids)):
            write(names[layout])
        table(tmp_path).rename(names["table"])
        for n, line in enumerate(commands, start=1):
            assert "imported    2 exams" in run(line, monkeypatch)
            assert len(list((tmp_path / "cohort" / "exams").iterdir())) == 2 * n
