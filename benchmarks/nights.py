"""A year of nights: what Dagster's storage of a home grows to when it is curated every night and old runs are deleted.

python -m benchmarks.nights [--nights 365] [--changed 5] [--home DIR] [--ui]

Each night is the two runs of a curation, `curate` and `publish`, whose events are written as those runs write them
(materialisations of the shards that changed and of the whole tables, results of the checks) and whose work is left
out: the storage knows no tables. Nights follow each other within seconds, so the age at which a run is deleted is
counted in nights. Prints size, files and runs, with `--ui` also the seconds of the pages that people open most, and
exits 1 where a figure misses its goal.
"""

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import dagster as dg
import typer

from assets.instance import dagster_instance
from assets.processes import INSTANCE_NAME
from assets.retention import delete_runs
from benchmarks.figures import Figure
from benchmarks.ui import ask, open_ui
from pipelines.review.quality_checks import CHECKS
from pipelines.tables.curation_version import CURATED
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.shards import N_SHARDS, SHARD_NAMES

KEPT_NIGHTS = 30
GOAL_GB, GOAL_FILES, GOAL_PAGE_S = 0.3, 500, 2.0
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_WHOLE = ("identifiers", "reports", "catalog", "curation_diff", "dataset_card")

PAGES = {
    "assets": "{ assetsOrError { ... on AssetConnection { nodes { key { path } assetMaterializations(limit: 1) {"
    " runId timestamp } } } } }",
    "runs": "{ runsOrError(limit: 25) { ... on Runs { results { runId status jobName startTime endTime tags { key value"
    " } } } } }",
    "partitions of lesions": '{ assetNodeOrError(assetKey: {path: ["lesions"]}) { ... on AssetNode { partitionStats {'
    " numMaterialized numFailed numPartitions } staleStatusByPartition } } }",
    "checks of lesions": '{ assetNodeOrError(assetKey: {path: ["lesions"]}) { ... on AssetNode { assetChecksOrError {'
    " ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } } }",
}
"""What the pages that people open most ask for."""


def night_jobs(night: list[int], n_changed: int) -> tuple[dg.JobDefinition, dg.JobDefinition]:
    """The runs of a night, by their events; `night` holds the night's number."""

    @dg.op(name="curate_stale_shards")
    def told(context: dg.OpExecutionContext) -> None:
        first = 0 if night[0] == 0 else night[0] * n_changed
        shards = SHARD_NAMES if night[0] == 0 else [SHARD_NAMES[(first + i) % N_SHARDS] for i in range(n_changed)]
        for source in ("exam_manifest", "corrections"):
            for shard in shards:
                tags = {"dagster/data_version": hash_of(source, shard, night[0])}
                context.log_event(dg.AssetObservation(source, partition=shard, tags=tags))
        for table in CURATED:
            for shard in shards:
                tags = {"dagster/data_version": hash_of(table, shard, night[0]), "dagster/code_version": table}
                counts = {"recomputed": 1, "reused": 500, "removed": 0, "failed": 0, "rows recomputed": 3}
                context.log_event(dg.AssetMaterialization(table, partition=shard, metadata=counts, tags=tags))

    @dg.op(name="publish_tables")
    def published(context: dg.OpExecutionContext) -> None:
        for table in _WHOLE:
            metadata = {"dagster/row_count": 33_000, "text": dg.MetadataValue.md("x" * 2000)}
            context.log_event(dg.AssetMaterialization(table, metadata=metadata))
        for check in CHECKS:
            metadata = {"wrong": 0, "checked": 33_000}
            context.log_event(
                dg.AssetCheckEvaluation(
                    check_name=check.name, passed=True, asset_key=dg.AssetKey(check.table), metadata=metadata
                )
            )

    @dg.job(name="curate", executor_def=dg.in_process_executor)
    def curate() -> None:
        told()

    @dg.job(name="publish", executor_def=dg.in_process_executor)
    def publish() -> None:
        published()

    return curate, publish


def measure_storage(home: Home, nights: int, n_changed: int) -> list[Figure]:
    """Size, files and runs of the storage after so many nights, and the most that they were."""
    folder = home.root / INSTANCE_NAME
    night = [0]
    jobs = night_jobs(night, n_changed)
    begun: list[datetime] = []
    most_bytes = most_files = 0
    checks = [dg.AssetCheckKey(dg.AssetKey(check.table), check.name) for check in CHECKS]
    with dagster_instance(home) as instance:
        for number in range(nights):
            night[0] = number
            begun.append(datetime.now(UTC))
            for job in jobs:
                assert job.execute_in_process(instance=instance, run_config=_QUIET).success
            if number % 7 == 6 or number == nights - 1:
                size, files = _size(folder)
                most_bytes, most_files = max(most_bytes, size), max(most_files, files)
                if number >= KEPT_NIGHTS:
                    delete_runs(instance, folder, begun[number - KEPT_NIGHTS], checks)
        n_runs = instance.get_runs_count()
    size, files = _size(folder)
    return [
        Figure(f"{nights} nights: size, most", most_bytes / 1e9, GOAL_GB, "GB"),
        Figure(f"{nights} nights: files, most", most_files, GOAL_FILES, "files"),
        Figure(f"{nights} nights: size at the end", size / 1e9, GOAL_GB, "GB"),
        Figure(f"{nights} nights: files at the end", files, GOAL_FILES, "files"),
        Figure(f"{nights} nights: runs at the end", n_runs, None, "runs"),
    ]


def _size(folder: Path) -> tuple[int, int]:
    """(bytes on the disk, files)."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(status.st_blocks * 512 for status in found), len(found)


def measure_pages(home: Home) -> list[Figure]:
    """Seconds of the second answer to each page's questions, by the UI over the home."""
    figures = []
    with open_ui(home, home.root / "cohort", 300) as port:
        for name, query in PAGES.items():
            ask(port, query)
            started = time.perf_counter()
            answer = ask(port, query)
            figures.append(Figure(f"page: {name}", time.perf_counter() - started, GOAL_PAGE_S))
            assert "PythonError" not in json.dumps(answer)
    return figures


def main(
    nights: int = 365,
    changed: Annotated[int, typer.Option(help="shards that change in a night")] = 5,
    home: Annotated[Path | None, typer.Option(help="keep what is written here")] = None,
    ui: Annotated[bool, typer.Option("--ui", help="start the UI and time its pages")] = False,
) -> None:
    """Measures a year of nights; exits 1 where a figure misses its goal."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Home((home or Path(temporary)).absolute())
        figures = measure_storage(place, nights, changed)
        figures += measure_pages(place) if ui else []
        for figure in figures:
            print(figure.line(), flush=True)
    raise typer.Exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    typer.run(main)
