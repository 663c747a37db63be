"""The tutorial: its commands run in their order, in an empty folder, and leave what its text promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import Block, blocks

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.docs, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[Block, str]]]:
    """The folder the tutorial ran in, and each block with what it printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PETAR_", "DAGSTER_"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    printed = []
    for block in blocks(ROOT / "docs" / "tutorial.md"):
        program = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
        done = subprocess.run(
            [*program, block.text], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{block.text}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        printed.append((block, done.stdout))
    return folder, printed


def _printed_by(outputs: list[tuple[Block, str]], command: str) -> list[str]:
    return [text for block, text in outputs if command in block.text]


def test_second_call_computes_nothing(outputs: tuple[Path, list[tuple[Block, str]]]) -> None:
    assert "nothing to recompute" in _printed_by(outputs[1], "petar curate")[1]


def test_other_method_is_the_cause_of_the_difference(outputs: tuple[Path, list[tuple[Block, str]]]) -> None:
    assert "parameters" in _printed_by(outputs[1], "petar rerun")[0]


def test_correction_is_applied(outputs: tuple[Path, list[tuple[Block, str]]]) -> None:
    assert "applied" in _printed_by(outputs[1], "petar query corrections")[0]


def test_release_is_as_its_checksums_say(outputs: tuple[Path, list[tuple[Block, str]]]) -> None:
    folder, _ = outputs
    assert (folder / "curated" / "gallery" / "index.html").is_file()
    assert list((folder / "release").glob("**/*.parquet"))
