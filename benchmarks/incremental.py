"""Incremental curation at size: 33,000 exams in 64 shards through the project's own machinery, Dagster included.

python -m benchmarks.incremental [--exams 33000] [--runs 64] [--home DIR]

Reports stand for exams here and there are no images, so that an exam costs nothing of itself: what is measured is
the manifest, the reuse of rows, the contracts, the lake, and Dagster's runs and events. Prints one line a figure and
exits 1 where one misses its goal. The last figure is of real runs, each a process that the daemon launches from the
queue as it does in the UI: the job `curate_shard` with its five assets, once a shard (`--runs 0` leaves it out).
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import dagster as dg
import polars as pl
import typer

from assets.instance import dagster_instance
from benchmarks.figures import Figure
from benchmarks.ui import ask, open_ui
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import open_curation, run_stage
from pipelines.curation.stages.incremental import UpdateCounts
from pipelines.tables.home import Home
from pipelines.tables.shards import SHARD_NAMES, shard_name, shard_of

SHARDS = dg.StaticPartitionsDefinition(list(SHARD_NAMES))
GOALS_S = {"full pass": 5.0, "nothing changed": 3.0, "one exam": 0.5, "real runs": 240.0}
TABLE = "exams"


def write_reports(cohort: Path, exams: Sequence[tuple[str, str, str]]) -> None:
    """A cohort of (exam, patient, report) without images."""
    cohort.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(exams, schema=["exam_id", "patient_id", "findings"], orient="row")
    frame.write_parquet(cohort / "reports.parquet")


def exams_of(n: int) -> list[tuple[str, str, str]]:
    """Exams of two thirds as many patients."""
    return [(f"E{i:06d}", f"P{i * 2 // 3:06d}", "No focus of uptake.") for i in range(n)]


def assets_over(cohort: Path, home: Home, counts: list[UpdateCounts]) -> list[dg.AssetsDefinition | dg.SourceAsset]:
    """The observed manifest and one sharded asset whose runs may take many shards at once."""
    curation = open_curation(home)

    @dg.observable_source_asset(partitions_def=SHARDS)
    def manifest() -> dg.DataVersionsByPartition:
        versions = observe_cohort(cohort, home.manifest)
        return dg.DataVersionsByPartition({shard_name(shard): version for shard, version in versions.items()})

    class Config(dg.Config):
        only_exams: list[str] = []  # noqa: RUF012 (Dagster's Config copies its defaults)

    @dg.asset(partitions_def=SHARDS, deps=[manifest], backfill_policy=dg.BackfillPolicy.single_run())
    def work(context: dg.AssetExecutionContext, config: Config) -> None:
        total = UpdateCounts()
        for key in context.partition_keys:
            total += run_stage(curation, TABLE, int(key), only=config.only_exams).counts
        context.add_output_metadata(vars(total))
        counts.append(total)

    return [manifest, work]


def measure_passes(cohort: Path, home: Home, n_exams: int) -> list[Figure]:
    """Figures of whole passes in this process: all, nothing changed, 21 changes, one exam."""
    exams, counts = exams_of(n_exams), list[UpdateCounts]()
    write_reports(cohort, exams)
    manifest, work = assets_over(cohort, home, counts)
    job = dg.define_asset_job("work_job", selection=[work])
    observe = dg.define_asset_job("observe_job", selection=[manifest])
    defs = dg.Definitions([manifest, work], jobs=[job, observe], executor=dg.in_process_executor)
    every = {
        "dagster/asset_partition_range_start": SHARD_NAMES[0],
        "dagster/asset_partition_range_end": SHARD_NAMES[-1],
    }

    with dagster_instance(home) as instance:

        def run(name: str, **arguments: object) -> None:
            assert defs.resolve_job_def(name).execute_in_process(instance=instance, **arguments).success  # type: ignore[arg-type]

        def whole_pass(name: str, goal_s: float) -> Figure:
            start, start_cpu = time.perf_counter(), time.process_time()
            run("observe_job")
            run("work_job", tags=every)
            return Figure(name, time.perf_counter() - start, goal_s, cpu_s=time.process_time() - start_cpu)

        figures = [whole_pass("full pass", GOALS_S["full pass"])]
        assert counts.pop() == UpdateCounts(recomputed=n_exams)
        figures.append(whole_pass("nothing changed", GOALS_S["nothing changed"]))
        assert counts.pop() == UpdateCounts(reused=n_exams)

        # Changed and removed ones from all over the cohort; each of the new a patient of its own.
        changed = {i * (n_exams // 11) for i in range(10)}
        edited = [(e, p, text if i not in changed else f"{text} Unchanged.") for i, (e, p, text) in enumerate(exams)]
        edited = edited[:-1] + [(f"N{i}", f"Q{i}", "New.") for i in range(10)]
        # The table of exams knows of a report only whether it is there; a tracer stands for a change of the exam.
        frame = pl.DataFrame(edited, schema=["exam_id", "patient_id", "findings"], orient="row").with_columns(
            tracer=pl.when(pl.col("findings").str.ends_with("Unchanged.")).then(pl.lit("FDG"))
        )
        frame.write_parquet(cohort / "reports.parquet")
        figures.append(whole_pass("10 changed, 10 new, 1 removed", GOALS_S["nothing changed"]))
        done = counts.pop()
        figures.append(Figure("10 changed, 10 new, 1 removed: recomputed", done.recomputed, 20, "exams", exact=True))
        figures.append(Figure("10 changed, 10 new, 1 removed: removed", done.removed, 1, "exams", exact=True))

        exam_id, patient_id, _ = exams[n_exams // 2]
        start, start_cpu = time.perf_counter(), time.process_time()
        run(
            "work_job",
            partition_key=shard_name(shard_of(patient_id)),
            run_config={"ops": {"work": {"config": {"only_exams": [exam_id]}}}},
        )
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
        figures.append(Figure("one exam", seconds, GOALS_S["one exam"], cpu_s=cpu_s))
        assert counts.pop().recomputed == 1
    return figures


_BACKFILL = """mutation { launchPartitionBackfill(backfillParams: {selector: {
partitionSetName: "curate_shard_partition_set",
repositorySelector: {repositoryLocationName: "petar", repositoryName: "__repository__"}}, partitionNames: %s}) {
__typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_STATUSES = """{ runsOrError(filter: {tags: [{key: "dagster/backfill", value: "%s"}]}) { ... on Runs { results {
status } } } }"""


def measure_real_runs(cohort: Path, home: Home, n_runs: int, patience_s: float = 900) -> list[Figure]:
    """Seconds of one run a shard of the job `curate`, launched by the daemon of `petar ui` from its queue."""
    with open_ui(home, cohort, patience_s) as port:
        start = time.perf_counter()
        names = json.dumps(list(SHARD_NAMES[:n_runs]))
        launched = ask(port, _BACKFILL % names)["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise SystemExit(f"the backfill was refused: {launched}")
        while True:
            statuses = [r["status"] for r in ask(port, _STATUSES % launched["backfillId"])["runsOrError"]["results"]]
            ended = [s for s in statuses if s in ("SUCCESS", "FAILURE", "CANCELED")]
            if len(ended) == n_runs or time.perf_counter() - start > patience_s:
                break
            time.sleep(0.5)
        seconds = time.perf_counter() - start
        succeeded = statuses.count("SUCCESS")
    goal = GOALS_S["real runs"] * n_runs / len(SHARD_NAMES)
    return [
        Figure(f"{n_runs} real runs of curate_shard", seconds, goal),
        Figure(f"{n_runs} real runs of curate_shard: succeeded", succeeded, n_runs, "runs", exact=True),
    ]


def main(
    exams: int = 33_000,
    runs: Annotated[int, typer.Option(help="real runs, one a shard; 0: none")] = len(SHARD_NAMES),
    home: Annotated[Path | None, typer.Option(help="keep what is written here")] = None,
) -> None:
    """Measures curation at size; exits 1 where a figure misses its goal."""
    with tempfile.TemporaryDirectory() as folder:
        base = home or Path(folder)
        figures = measure_passes(base / "cohort", Home(base / "passes"), exams)
        for figure in figures:
            print(figure.line(), flush=True)
        if runs:
            of_runs = measure_real_runs(base / "cohort", Home(base / "passes"), runs)
            for figure in of_runs:
                print(figure.line(), flush=True)
            figures += of_runs
    raise typer.Exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    typer.run(main)
