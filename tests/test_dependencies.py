"""What is imported is named in pyproject.toml, and the locks pin all of it with hashes but torch."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")
OWN = {"assets", "model", "pipelines"}
ON_REQUEST = {
    *("bitsandbytes", "dagster_postgres", "mlflow", "wandb", "presidio_analyzer", "sklearn", "spacy", "deltalake"),
    "ray",
}
"""Imported where a setting asks for them, with an error that names the package where it is missing, or where they are
installed."""


def normal(requirement: str) -> str:
    """Name of a distribution in a requirement, as indexes write it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>; ]", requirement)[0]).lower()


def pinned(lock: str) -> set[str]:
    return {normal(line) for line in (ROOT / lock).read_text().splitlines() if re.match(r"[a-z0-9]", line)}


def imported() -> set[str]:
    """Top-level names that our packages import, the standard library's and their own left out."""
    names: set[str] = set()
    for path in (path for package in OWN for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - OWN


def test_what_is_imported_is_a_dependency_by_name() -> None:
    named = {normal(requirement) for requirement in PROJECT["dependencies"]}
    distributions = packages_distributions()
    missing = {
        name for name in imported() - ON_REQUEST if not {normal(d) for d in distributions.get(name, [name])} & named
    }
    assert missing == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_every_package_with_hashes_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.findall(r"^[a-z0-9][^\n]*(?:\n    [^\n]*)*", text, re.MULTILINE)
    assert entries
    assert [e for e in entries if not re.match(r"[a-z0-9.\-\[\],]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", e)] == []
    assert "://" not in text


def test_locks_hold_all_dependencies_apart_and_leave_torch_out() -> None:
    production, development = (pinned(lock) for lock in LOCKS)
    extras = PROJECT["optional-dependencies"]
    wanted = {normal(r) for r in (*PROJECT["dependencies"], *extras["postgres"], *extras["s3"], *extras["proposals"])}
    assert wanted - production == {"torch"}
    assert {normal(r) for r in extras["dev"]} <= development
    assert production & development == set()
