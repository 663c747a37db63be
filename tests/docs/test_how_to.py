"""The how-to pages: the commands of each run in their order, beside a cohort that is curated."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
pytestmark = [pytest.mark.docs, pytest.mark.timeout(1800)]


def environment() -> dict[str, str]:
    """That of a reader: nothing of the project is set, `petar` and `python` are those of the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PETAR_", "DAGSTER_"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cohort`, curated in `curated`."""
    folder = tmp_path_factory.mktemp("how-to")
    drawn = ("cohort", "--size", "small", "--exams", "2", "--patients", "2")
    run(folder, sys.executable, "-m", "pipelines.phantom", *drawn)
    (folder / "cohort" / "petar.toml").touch()
    run(folder, *["petar", "curate", "--cohort", "cohort", "--home", "curated"])
    return folder


LEAVES = {
    "corrections": "applied",
    "cue": "findings",
    "recuration": "NEW-1",
    "reader": "pattern",
    "restore": "accepted    first: ",
    "review-session": "answers     1 in 1 files",
    "slice-conventions": "lesions.convention.origin",
    "remote-storage": "/tables",
    "many-machines": "#SBATCH",
    "check": "0 of ",
    "metric": "",
}
"""What the commands of each page print, among other lines."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_run_and_print_what_the_page_promises(page: Path, curated: Path, tmp_path: Path) -> None:
    shutil.copytree(curated, tmp_path / "place")
    printed = ""
    for block in blocks(page):
        program = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
        printed += run(tmp_path / "place", *program, block.text)
    assert LEAVES[page.stem] in printed
