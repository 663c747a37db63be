"""A day of a curation in the UI: the sensor is switched on, an exam is dropped in, a threshold is changed, the diff is
looked at. In a real browser; runs are asked for as the launchpad asks.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.phantom import PhantomSettings, add_exam, write_cohort
from pipelines.tables.shards import shard_name, shard_of
from tests.support.paths import ROOT

pytest.importorskip("selenium", reason="needs selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [
    pytest.mark.browser,
    pytest.mark.walk,
    pytest.mark.timeout(1200),
]

PATIENCE_S = 400
LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status pipelineName tags { key value } } } } }"


class Day:
    """The UI of one home, its cohort, and a browser in front of it."""

    def __init__(self, url: str, cohort: Path, browser: Any) -> None:
        self.url, self.cohort, self.browser = url, cohort, browser

    def post(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def runs(self) -> list[dict[str, Any]]:
        found = self.post(RUNS)["runsOrError"]["results"]
        return [run | {"tags": {t["key"]: t["value"] for t in run["tags"]}} for run in found]

    def wait_for(self, holds: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (value := holds()):
            assert time.monotonic() < deadline, [(r["pipelineName"], r["status"], r["tags"]) for r in self.runs()]
            time.sleep(1)
        return value

    def launch(self, job: str, assets: list[str], shard: str | None = None, config: Any = None) -> None:
        """Asks for a run as the launchpad does, and waits until it is done."""
        selector = {"repositoryLocationName": "petar", "repositoryName": "__repository__", "pipelineName": job}
        tags = [{"key": "dagster/partition", "value": shard}] if shard else []
        params = {
            "selector": selector | ({"assetSelection": [{"path": [a]} for a in assets]} if assets else {}),
            "mode": "default",
            "runConfigData": config or {},
            "executionMetadata": {"tags": tags},
        }
        answer = self.post(LAUNCH, {"params": params})["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id = answer["run"]["runId"]

        def status() -> str:
            return next(r["status"] for r in self.runs() if r["runId"] == run_id)

        assert self.wait_for(lambda: (s := status()) in ("SUCCESS", "FAILURE", "CANCELED") and s) == "SUCCESS"

    def latest(self, asset: str, shard: str) -> dict[str, Any]:
        """Numbers of the last materialisation of a shard."""
        query = (
            "query($a: AssetKeyInput!, $p: [String!]) { assetNodeOrError(assetKey: $a) { ... on AssetNode { "
            "assetMaterializations(partitions: $p, limit: 1) { metadataEntries { label ... on IntMetadataEntry "
            "{ intValue } } } } } }"
        )
        node = self.post(query, {"a": {"path": [asset]}, "p": [shard]})["assetNodeOrError"]
        (last,) = node["assetMaterializations"]
        return {entry["label"]: entry.get("intValue") for entry in last["metadataEntries"]}

    def see(self, path: str, *words: str) -> None:
        """Opens a page and waits until it shows the words."""
        self.browser.get(self.url + path)
        for word in words:
            WebDriverWait(self.browser, PATIENCE_S).until(
                lambda b, w=word: w in b.find_element(By.TAG_NAME, "body").text  # type: ignore[misc]
            )


@pytest.fixture
def day(browser: Any, tmp_path: Path, open_ui: Callable[..., AbstractContextManager[Any]]) -> Iterator[Day]:
    home = tmp_path / "home"
    write_cohort(home / "cohort", PhantomSettings(n_patients=1, n_exams=1, size="small", with_faults=False))
    # Every shard is there before the day begins: the condition asks for those that never were, too.
    command = [sys.executable, "-W", "ignore", "-m", "assets.cli", "curate"]
    subprocess.run([*command, "--cohort", str(home / "cohort"), "--home", str(home)], check=True, cwd=ROOT)
    browser.delete_network_conditions()
    browser.set_page_load_timeout(PATIENCE_S)
    with open_ui(home) as ask:
        yield Day(ask.url, home / "cohort", browser)


def shard_in(cohort: Path, exam_id: str) -> str:
    reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
    return shard_name(shard_of(reports.row(by_predicate=pl.col("exam_id") == exam_id, named=True)["patient_id"]))


def test_a_day_of_a_curation(day: Day) -> None:
    first = pl.read_csv(day.cohort / "reports.csv", infer_schema=False)["exam_id"][0]
    shard = shard_in(day.cohort, first)

    # The sensors are switched on: one has the cohort observed and curated, the other the catalog published.
    for sensor in ("changed_shards", "cohort_sensor"):
        day.see(f"/locations/petar/sensors/{sensor}", sensor)
        switch = WebDriverWait(day.browser, PATIENCE_S).until(
            lambda b: b.find_elements(By.CSS_SELECTOR, "input[type=checkbox]")
        )[0]
        day.browser.execute_script("arguments[0].click()", switch)

    def curations() -> int:
        return sum(r["pipelineName"] == "curate" and r["status"] == "SUCCESS" for r in day.runs())

    day.wait_for(lambda: curations() == 2)

    # The shard of the first exam is materialised once more, and has nothing to do.
    day.launch("curate_shard", [], shard)
    assert day.latest("lesions", shard)["recomputed"] == 0
    before = {r["runId"] for r in day.runs()}

    # An exam is dropped in: one run does its shard and no other, and the condition has the catalog published.
    second = add_exam(day.cohort)
    other = shard_in(day.cohort, second)
    day.wait_for(lambda: curations() == 3)
    assert day.latest("exams", other)["recomputed"] == 1

    def by_itself() -> list[dict[str, Any]]:
        return [r for r in day.runs() if r["runId"] not in before]

    day.wait_for(lambda: any(r["pipelineName"] != "curate" and r["status"] == "SUCCESS" for r in by_itself()))
    assert {r["tags"].get("dagster/partition") for r in by_itself()} == {None}

    # A threshold is changed for one exam, and the diff says so.
    changed = {"only_exams": [first], "lesions": {"contour": {"level": 0.7}}}
    day.launch("__ASSET_JOB", ["lesions"], shard, {"ops": {"lesions": {"config": changed}}})
    assert day.latest("lesions", shard)["recomputed"] == 1
    day.launch("__ASSET_JOB", ["catalog", "curation_diff"])
    day.see("/assets/curation_diff", "curation_diff", "changed")
