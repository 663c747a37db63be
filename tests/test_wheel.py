"""The wheel holds all that the commands read, and works from any folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.phantom import PhantomSettings, write_cohort

ROOT = Path(__file__).parents[1]
SOURCES = ("pipelines", "model", "assets", "sql", "pyproject.toml", "README.md", "dagster.yaml", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the project's wheel installs, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, for a build leaves folders beside its sources.
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True)
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "dist", folder / "source"]
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = (folder / "dist").glob("petar-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, cwd=folder)
    return folder / "site"


def call(installed: Path, folder: Path, *arguments: str) -> str:
    """What the installed command prints, called in a folder."""
    unset = {"PETAR_HOME", "PETAR_COHORT", "PETAR_SETTINGS", "PETAR_DAGSTER", "DAGSTER_HOME"}
    variables = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, installed / "bin" / "petar", *arguments],
        cwd=folder,
        env={**variables, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_holds_every_file_that_is_read(installed: Path) -> None:
    """Data, prompts, pages and queries of the checkout are in the wheel."""
    kept = {".csv", ".css", ".html", ".js", ".json", ".sql", ".toml", ".txt", ".yaml"}
    wanted = [
        path.relative_to(ROOT)
        for package in ("pipelines", "model", "assets", "sql")
        for path in (ROOT / package).rglob("*")
        if path.suffix in kept
    ]
    assert [path for path in wanted if not (installed / path).is_file()] == []
    assert (installed / "assets" / "dagster.yaml").read_text() == (ROOT / "dagster.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "printed"), [(["--help"], "curate"), (["query", "--list"], "funnel"), (["doctor"], "DAGSTER_HOME")]
)
def test_answers_from_another_folder(installed: Path, tmp_path: Path, arguments: list[str], printed: str) -> None:
    assert printed in call(installed, tmp_path, *arguments)


@pytest.mark.slow
def test_curates_from_another_folder(installed: Path, tmp_path: Path) -> None:
    settings = PhantomSettings(n_patients=1, n_exams=1, size="small", with_faults=False)
    write_cohort(tmp_path / "my cohort", settings)
    (tmp_path / "elsewhere").mkdir()
    where = ["--cohort", "../my cohort", "--home", "my home"]
    assert "exams 1 recomputed" in call(installed, tmp_path / "elsewhere", "curate", *where)
    assert "exams" in call(installed, tmp_path / "elsewhere", "query", "funnel", "--home", "my home")
    assert (tmp_path / "elsewhere" / "my home" / "dagster" / "dagster.yaml").is_file()
