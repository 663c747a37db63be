"""The UI: started as `make ui` starts it, asked over GraphQL as the browser asks it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DG = Path(sys.executable).parent / "dg"
START_TIMEOUT_S = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a UI over an empty home."""
    home = tmp_path_factory.mktemp("home")
    port = free_port()
    environment = {
        **os.environ,
        "PETAR_HOME": str(home),
        "PETAR_DAGSTER": str(home / "dagster"),
        "PETAR_COHORT": str(home / "cohort"),
        "DAGSTER_HOME": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    (home / "dagster").mkdir()
    log = (home / "ui.log").open("w")
    # As in a shell script: without the default handling of INT the servers below would outlive their parent.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", str(DG), "dev", "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if ask(url, "{ version }"):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, (home / "ui.log").read_text()
                assert time.monotonic() < deadline, (home / "ui.log").read_text()
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


class TestTheUi:
    def test_loads_the_code_location(self, ui: str) -> None:
        data = ask(
            ui,
            "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on "
            "PythonError { message } } } } } }",
        )
        entries = data["workspaceOrError"]["locationEntries"]
        assert [(e["name"], e["locationOrLoadError"]["__typename"]) for e in entries] == [
            ("petar", "RepositoryLocation")
        ]

    def test_shows_the_asset_graph(self, ui: str) -> None:
        nodes = ask(ui, "{ assetNodes { assetKey { path } groupName dependencyKeys { path } } }")["assetNodes"]
        edges = {n["assetKey"]["path"][0]: {d["path"][0] for d in n["dependencyKeys"]} for n in nodes}
        assert edges["lesions"] == {"exams", "findings"}
        assert edges["scoreboard"] == {"scores"}
        assert {n["groupName"] for n in nodes} == {
            "exams",
            "reports",
            "lesions",
            "review",
            "samples",
            "training",
            "evaluation",
        }

    def test_offers_the_schedules_and_sensors(self, ui: str) -> None:
        data = ask(
            ui,
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { schedules { name } sensors { name } } } } }",
        )
        (repository,) = data["repositoriesOrError"]["nodes"]
        assert {s["name"] for s in repository["schedules"]} == {"nightly_recuration", "weekly_observation"}
        assert {s["name"] for s in repository["sensors"]} == {"cohort_sensor", "changed_shards"}
