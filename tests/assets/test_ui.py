"""The UI: started as `make ui` starts it, asked over GraphQL as the browser asks it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Ask = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def ask(open_ui: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks a UI over an empty home."""
    with open_ui(tmp_path_factory.mktemp("home")) as ask:
        yield ask


class TestTheUi:
    def test_loads_the_code_location(self, ask: Ask) -> None:
        data = ask(
            "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on "
            "PythonError { message } } } } } }",
        )
        entries = data["workspaceOrError"]["locationEntries"]
        assert [(e["name"], e["locationOrLoadError"]["__typename"]) for e in entries] == [
            ("petar", "RepositoryLocation")
        ]

    def test_shows_the_asset_graph(self, ask: Ask) -> None:
        nodes = ask("{ assetNodes { assetKey { path } groupName dependencyKeys { path } } }")["assetNodes"]
        edges = {n["assetKey"]["path"][0]: {d["path"][0] for d in n["dependencyKeys"]} for n in nodes}
        assert edges["lesions"] == {"exams", "findings", "peaks", "calibration"}
        assert edges["scoreboard"] == {"scores", "comparisons"}
        assert {n["groupName"] for n in nodes} == {
            "exams",
            "reports",
            "lesions",
            "followup",
            "proposals",
            "review",
            "samples",
            "training",
            "evaluation",
        }

    def test_offers_the_schedules_and_sensors(self, ask: Ask) -> None:
        data = ask(
            "{ repositoriesOrError { ... on RepositoryConnection { nodes { schedules { name } sensors { name } } } } }",
        )
        (repository,) = data["repositoriesOrError"]["nodes"]
        schedules = {"nightly_recuration", "weekly_observation", "weekly_retention", "daily_freshness"}
        assert {s["name"] for s in repository["schedules"]} == schedules
        sensors = {"cohort_sensor", "changed_shards", "single_shards", "dead_runs"}
        assert {s["name"] for s in repository["sensors"]} == sensors
