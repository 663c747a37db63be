"""The command `petar`. What a command needs is imported inside of it, so that help, query and doctor answer at once.

Exit codes: 0 done (exams with problems are rows, not failures), 1 a run failed or the input is wrong, 2 the command
itself is wrong, 130 stopped by Ctrl-C.
"""

import os
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from assets import model_commands
from assets.command_options import DEFAULT_HOME, Checkpoint, Cohort, CohortNeeded, Device, Home, Settings, fail

if TYPE_CHECKING:
    from assets.cluster import ClusterCall
    from assets.resources import Workspace
    from assets.runner import Runner
    from assets.training_jobs import TrainingCall
    from assets.unchanged import Printed
    from pipelines.reports.llm.vllm_server import ServerPlan

T = TypeVar("T")

app = typer.Typer(
    name="petar",
    help="PET/CT exams and their reports become lesion masks, tables, and a model that describes lesions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
vllm = typer.Typer(no_args_is_help=True, help="A vLLM server in an environment of its own.")
app.add_typer(vllm, name="vllm")
reader = typer.Typer(no_args_is_help=True, help="Readers of reports that are trained here.")
app.add_typer(reader, name="reader")
app.add_typer(model_commands.app, name="model")

batch = typer.Typer(no_args_is_help=True, help="What the jobs of a cluster call.")
app.add_typer(batch, name="batch", hidden=True)

Partition = Annotated[str, typer.Option(help="Slurm: partition. [default: the cluster's]")]
Memory = Annotated[
    str, typer.Option(help="Slurm: memory of a task, e.g. 10G; 2.5 GB for each process. [default: the cluster's]")
]
TimeLimit = Annotated[
    str, typer.Option("--time", help="Slurm: limit of a task, e.g. 8:00:00. [default: the partition's]")
]
Sbatch = Annotated[
    list[str] | None, typer.Option("--sbatch", help="Slurm: a further option, e.g. '--account=lab'; may be repeated.")
]
Folder = Annotated[Path, typer.Argument(help="Folder of the submission.")]
_HOST = "127.0.0.1"

_DEMO_SETTINGS = """\
# Held-out lesions enough to tell models apart. Few organs, so that two cores train in minutes.
[samples]
val = 0.1
test = 0.3
anatomy_per_exam = 16
"""
_FEW_SETTINGS = """\
# Sixteen patients: with the usual 80/10/10 hardly one would be held out.
[samples]
val = 0.2
test = 0.2
anatomy_per_exam = 16
"""


def _workspace(cohort: Path | None, home: Path, settings: Path | None) -> "Workspace":
    from assets.resources import workspace_from

    named = {"PETAR_COHORT": cohort, "PETAR_HOME": home, "PETAR_SETTINGS": settings}
    return workspace_from({**os.environ, **{name: str(path or "") for name, path in named.items()}})


def _run(workspace: "Workspace", steps: Callable[["Runner"], object], *, with_model: bool = False) -> "Printed":
    """Runs the steps over a workspace and prints the summary; gives back what of it stays while nothing changes. A run
    that failed ends the command with exit code 1.

    Args:
        with_model: training and scoreboard are told too.
    """
    from assets.interruption import INTERRUPTED, CommandInterruptedError, run_interruptible
    from assets.run_summary import RunSummary
    from assets.runner import EXPECTED, runner_of
    from assets.summary import print_summary
    from pipelines.cohort.manifest import check_cohort

    started = time.monotonic()
    _check_workspace(workspace)
    summary = RunSummary()

    def run() -> None:
        with runner_of(workspace, summary) as runner:
            steps(runner)

    try:
        check_cohort(workspace.cohort_folder)
        run_interruptible(run)
    except EXPECTED as error:
        fail(str(error))
    except CommandInterruptedError:
        typer.echo("stopped by Ctrl-C; what was computed is kept, the same command goes on from there", err=True)
        raise typer.Exit(INTERRUPTED) from None
    summary.seconds = time.monotonic() - started
    printed = print_summary(workspace.paths, workspace.cohort, summary, with_model=with_model)
    if printed is None:
        raise typer.Exit(1)
    return printed


def _check_strictly(printed: "Printed") -> None:
    """Ends the command where an exam is not usable or a quality check failed."""
    wrong = [f"{printed.n_unusable} exams ended as problem or failed"] if printed.n_unusable else []
    wrong += [f"checks failed: {', '.join(printed.failed_checks)}"] if printed.failed_checks else []
    if wrong:
        fail(f"--strict: expected usable exams and checks that pass, got: {'; '.join(wrong)}, as told above")


def _check_workspace(workspace: "Workspace") -> None:
    """Ends the command where the home cannot be written to or a setting is wrong, before anything is written."""
    from pipelines.settings import SettingsError
    from pipelines.tables.home import HomeError
    from pipelines.tables.storage_paths import StoragePathError

    try:
        workspace.paths.check_writable()
        workspace.settings()
    except (HomeError, SettingsError, StoragePathError) as error:
        fail(str(error))


class Engine(StrEnum):
    """What runs the stages of stale shards."""

    LOCAL = "local"
    SLURM = "slurm"
    RAY = "ray"


@app.command(epilog="Example: petar curate --cohort scans --home curated")
def curate(
    cohort: CohortNeeded,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit code 1 if an exam ended as problem or failed, or a check failed; all is published."
        ),
    ] = False,
    accept_removals: Annotated[
        bool,
        typer.Option(
            "--accept-removals",
            help="Many exams may leave at once, with their masks and volumes; else such a loss stops the call.",
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            envvar="PETAR_WORKERS",
            help="Processes side by side; on a cluster, of each task. [default: one for each core and 2.5 GB of free"
            " memory]",
        ),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="This machine, jobs of a Slurm cluster, or tasks of a Ray cluster.")
    ] = Engine.LOCAL,
    partition: Partition = "",
    chunks: Annotated[int, typer.Option(min=1, max=64, help="Slurm: tasks of an array at most.")] = 16,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Slurm: cores of a task. [default: --workers, else 4]")
    ] = None,
    mem: Memory = "",
    time_limit: TimeLimit = "",
    sbatch: Sbatch = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Slurm: print the scripts, submit nothing.")] = False,
    address: Annotated[
        str,
        typer.Option(help="Ray: of the cluster, e.g. auto. [default: RAY_ADDRESS, else processes of this machine]"),
    ] = "",
) -> None:
    """Curate a cohort: everything up to the catalog."""
    if workers is not None:
        os.environ["PETAR_WORKERS"] = str(workers)
    given = {"--partition": partition, "--cpus": cpus, "--mem": mem, "--time": time_limit, "--sbatch": sbatch}
    _check_engine(engine, {**given, "--dry-run": dry_run}, tuple(Engine))
    if address and engine is not Engine.RAY:
        fail(f"expected --address with --engine ray, got --engine {engine}: name the engine or leave it out")
    if engine is Engine.SLURM:
        from assets.cluster import ClusterCall
        from pipelines.curation.engines.slurm import SlurmOptions

        options = SlurmOptions(partition, chunks, cpus or workers or 4, mem, time_limit, tuple(sbatch or ()))
        workspace = _workspace(cohort, home, settings)
        _on_cluster(workspace, ClusterCall(options, workers or 0, strict, accept_removals), dry_run=dry_run)
        return
    ray = address or os.environ.get("RAY_ADDRESS", "") if engine is Engine.RAY else None
    printed = _curate(cohort, home, settings, accept_removals, ray)
    if strict:
        _check_strictly(printed)


def _check_engine(engine: Engine, given: Mapping[str, object], known: Sequence[Engine]) -> None:
    """Ends the command where the engine is not one of those known, or options of Slurm are given without it."""
    if engine not in known:
        fail(f"expected --engine {' or '.join(known)}, got {engine}: name one of them")
    wrong = [name for name, value in given.items() if value or (value == 0 and value is not False)]
    if wrong and engine is not Engine.SLURM:
        fail(
            f"expected {', '.join(wrong)} with --engine slurm, got --engine {engine}: name the engine or leave them out"
        )


def _curate(
    cohort: Path, home: Path, settings: Path | None, accept_removals: bool, ray: str | None = None
) -> "Printed":
    """What a curation printed: by its runs, or without one where nothing has changed since the last one."""
    from assets.unchanged import Place, print_unchanged, write_unchanged

    started = time.monotonic()
    place = Place.of(cohort, home, settings, os.environ)
    try:
        before = place.cohort_state()
    except OSError:
        before = None  # The runs say what is wrong with the folder.
    printed = print_unchanged(place, before, started) if before is not None else None
    if printed is not None:
        return printed
    workspace = _workspace(cohort, home, settings)
    printed = _run(workspace, lambda runner: runner.curate(accept_removals, ray=ray))
    from pipelines.catalog.publish import is_settled

    if before is not None and is_settled(workspace.curation()):
        write_unchanged(place, before, printed)
    return printed


def _on_cluster(workspace: "Workspace", call: "ClusterCall", *, dry_run: bool) -> None:
    """Hands a curation to a cluster, or prints what would be handed over."""
    from assets import cluster

    _check_workspace(workspace)
    _hand_over(
        workspace,
        lambda: cluster.dry_run(workspace, call),
        None if dry_run else lambda: cluster.submit_curation(workspace, call, lambda line: typer.echo(line)).folder,
    )


def _hand_over(workspace: "Workspace", shown: Callable[[], str], submit: Callable[[], Path] | None) -> None:
    """Submits work on a cohort to a cluster and tells the folder of the submission; without `submit` prints `shown`."""
    from assets.runner import EXPECTED
    from pipelines.cohort.manifest import check_cohort
    from pipelines.curation.engines.slurm import SlurmError

    try:
        check_cohort(workspace.cohort_folder)
        if submit is None:
            typer.echo(shown(), nl=False)
            return
        folder = submit()
    except (*EXPECTED, SlurmError) as error:
        fail(str(error))
    typer.echo(f"scripts, logs  {folder}    (the same command again goes on from where jobs were ended)")


@batch.command("work")
def batch_work(
    folder: Folder,
    phase: Annotated[int, typer.Option(min=1, help="Phase, counted from 1.")],
    chunk: Annotated[int, typer.Option(min=0, help="Number of the task.")],
) -> None:
    """Curate the shards of a task; exit code 1 if one failed."""
    from assets import cluster

    failed = _of_batch(lambda: cluster.work(folder, phase - 1, chunk))
    if failed:
        fail("\n".join(failed))


@batch.command("samples")
def batch_samples(cohort: CohortNeeded, home: Home, settings: Settings = None) -> None:
    """Curate, and make the samples that the stages of training read."""
    _run(
        _workspace(cohort, home, settings),
        lambda runner: runner.curate() and all(runner.asset(name, None, {}) for name in ("anatomy", "samples")),
    )


@batch.command("plan")
def batch_plan(folder: Folder, phase: Annotated[int, typer.Option(min=2, help="Phase, counted from 1.")]) -> None:
    """Plan the tasks of a phase, after the one before."""
    from pipelines.curation.engines.batch import Batch, plan_phase

    _of_batch(lambda: plan_phase(Batch.load(folder), phase - 1))


@batch.command("publish")
def batch_publish(folder: Folder) -> None:
    """Tell Dagster of what the jobs curated, check, and publish."""
    from assets.cluster import workspace_of
    from pipelines.curation.engines.batch import Batch

    found = _of_batch(lambda: Batch.load(folder))
    printed = _run(workspace_of(found), lambda runner: runner.curate(batch=folder))
    if found.is_strict:
        _check_strictly(printed)


def _of_batch(call: Callable[[], T]) -> T:
    """What a step of a batch gives; its errors end the command with a line."""
    from assets.runner import EXPECTED
    from pipelines.curation.engines.batch import BatchError

    try:
        return call()
    except (*EXPECTED, BatchError) as error:
        fail(str(error))


@app.command("import", epilog="Example: petar import nnunet Dataset221_AutoPETII --to cohort")
def import_set(
    layout: Annotated[str, typer.Argument(help="nnunet, autopet, bids or table.")],
    source: Annotated[Path, typer.Argument(help="Folder of the data set, of a table its file.")],
    to: Annotated[Path, typer.Option("--to", help="Cohort folder to write: links and a table of reports.")],
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", help="TOML that says what the set's names mean. [default: the layout's own]"),
    ] = None,
) -> None:
    """Make a cohort folder of links to a public data set."""
    from pipelines.cohort.importers.mapping import LAYOUTS, read_mapping
    from pipelines.cohort.importers.plan import ImporterError
    from pipelines.cohort.importers.table import columns_of
    from pipelines.cohort.importers.write import plan_import, write_cohort

    chosen = next((known for known in LAYOUTS if known == layout), None)
    if chosen is None:
        fail(f"expected a layout of {', '.join(LAYOUTS)}, got {layout!r}: name one of them")
    try:
        seen = columns_of(source) if chosen == "table" else ()
        plan = plan_import(chosen, source, read_mapping(chosen, mapping, seen))
        left_out = write_cohort(plan, to, chosen, source)
    except ImporterError as error:
        fail(str(error))
    for problem in (*plan.problems, *left_out):
        typer.echo(f"  problem   {problem}", err=True)
    n_masks, n_ct = sum(len(exam.masks) for exam in plan.exams), sum(exam.ct is not None for exam in plan.exams)
    n_patients, n_reports = len({exam.patient_id for exam in plan.exams}), sum(bool(e.findings) for e in plan.exams)
    but = f", but {len(left_out)} that another set has" if left_out else ""
    typer.echo(
        f"imported    {len(plan.exams)} exams of {n_patients} patients, {n_ct} with CT, {n_masks} given masks,"
        f" {n_reports} with a report{but}"
    )
    typer.echo(f"cohort      {to}    (petar curate --cohort {shlex.quote(str(to))})")


@app.command(epilog="Example: petar demo --home demo")
def demo(
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
    patients: Annotated[
        int,
        typer.Option(
            min=0,
            help="Patients of differing build beside the 16 with their 24 exams, a coarse exam each: lesions enough to"
            " compare models by.",
        ),
    ] = 100,
) -> None:
    """Write a phantom cohort and take it through the whole lineage, to the scoreboard."""
    from pipelines.curation.engines.workers import default_workers
    from pipelines.phantom import PhantomSettings, write_cohort
    from pipelines.settings import COHORT_SETTINGS_NAME

    workspace = _workspace(cohort, home, settings)
    _check_workspace(workspace)
    drawn = PhantomSettings(n_varied=patients)
    print(write_cohort(workspace.cohort_folder, drawn, default_workers()).summary(), flush=True)
    own_settings = workspace.cohort_folder / COHORT_SETTINGS_NAME
    if not own_settings.exists():
        own_settings.write_text(_DEMO_SETTINGS if patients else _FEW_SETTINGS)

    def steps(runner: "Runner") -> object:
        pages = {"gallery": {"n_lesions": 12, "n_rejected": 6}}
        return runner.walk("train", "evaluate") and runner.job("review", config=pages) and runner.job("export")

    _run(workspace, steps, with_model=True)


@app.command(epilog="Example: petar rerun lesions --exam PX-0003 --set 'contour.background_part = 0.5'")
def rerun(
    asset: Annotated[str, typer.Argument(help="The asset, e.g. lesions.")],
    exam: Annotated[
        list[str] | None,
        typer.Option(help="An exam whose rows are computed, changed or not; may be repeated."),
    ] = None,
    shard: Annotated[str, typer.Option(help="A shard, 00 to 63.")] = "",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of this run as a line of TOML; may be repeated.")
    ] = None,
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
) -> None:
    """Compute one asset again (of an exam, of a shard, or whole), publish, and print what changed.

    It is computed from what the assets before it hold: a changed report or image is taken up by `petar curate`.
    """
    from pipelines.tables.curation_version import curation_version

    def steps(runner: "Runner") -> None:
        before = curation_version(runner.workspace.paths)
        if runner.rerun(asset, exam or [], shard, change or []) and runner.job("publish"):
            if curation_version(runner.workspace.paths) == before:
                typer.echo("no row changed; a changed report or image is taken up by `petar curate`, not by a rerun")
            else:
                _print_query(home, "curation_diff")
            if change:
                typer.echo(
                    "--set was for this run: the next curation takes the cohort's petar.toml again; write it there"
                )

    _run(_workspace(cohort, home, settings), steps)


@app.command(epilog="Example: petar accept 2026-01 --who 'Dr A' --note 'for the study'")
def accept(
    name: Annotated[str, typer.Argument(help="What to call the version that is published now.")],
    who: Annotated[str, typer.Option(help="Who accepts it.")],
    note: Annotated[str, typer.Option(help="Why, for whom.")] = "",
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
) -> None:
    """Keep what is published now under a name, for ever."""
    from pipelines.catalog.versions import read_accepted, version_folder

    wanted = {"name": name, "who": who, "note": note}
    workspace = _workspace(cohort, home, settings)
    _run(workspace, lambda runner: runner.job("accept", config={"accepted_curation": wanted}))
    folder = version_folder(workspace.paths, read_accepted(workspace.paths)[name].version)
    typer.echo(f"accepted    {name}: {folder}")


@app.command(epilog="Example: petar release 2026-01 --to releases/2026-01")
def release(
    name: Annotated[str, typer.Argument(help="Name that the curation was accepted under.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder to write. [default: HOME/releases/NAME]")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="parquet, webdataset, nnunet or delta; may be repeated. [default: the first three]"
        ),
    ] = None,
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
) -> None:
    """Write an accepted curation, pseudonymised, as files that others load."""
    from pipelines.cohort.privacy.deidentification import PrivacyError, read_key
    from pipelines.release.gate import ReleaseError, open_gate
    from pipelines.release.write import FORMATS, USUAL_FORMATS, write_release
    from pipelines.tables.home import folder_name

    chosen = tuple(known for known in FORMATS if known in (formats or USUAL_FORMATS))
    if unknown := sorted(set(formats or ()) - set(FORMATS)):
        fail(f"expected formats of {', '.join(FORMATS)}, got {', '.join(unknown)}: name some of them")
    workspace = _workspace(cohort, home, settings)
    _check_workspace(workspace)
    paths, parameters = workspace.paths, workspace.settings()
    target = to if to is not None else paths.root / "releases" / folder_name(name)
    try:
        gate = open_gate(paths, name, read_key(os.environ, paths))
        made = write_release(paths, name, target, gate, parameters, chosen, _progress("exams"))
    except (ReleaseError, PrivacyError) as error:
        fail(str(error))
    typer.echo(
        f"released    {made.n_lesions} lesions in {made.n_exams} exams of {made.n_patients} patients, "
        f"{made.n_bytes / 1e6:,.1f} MB, {made.n_without_ct} exams without CT"
    )
    typer.echo(f"release     {made.folder}    (petar verify {shlex.quote(str(made.folder))})")


def _progress(what: str) -> Callable[[int, int], None]:
    """Tells every tenth part of the work on standard error."""

    def at(done: int, of: int) -> None:
        if done == of or done % max(1, of // 10) == 0:
            typer.echo(f"  {done} of {of} {what}", err=True)

    return at


@app.command("verify", epilog="Example: petar verify releases/2026-01")
def verify_release(folder: Annotated[Path, typer.Argument(help="Folder of the release.")]) -> None:
    """Compare a release with its checksums, and name every file that differs."""
    from pipelines.release.checksums import verify
    from pipelines.release.gate import ReleaseError

    try:
        faults = verify(folder)
    except ReleaseError as error:
        fail(str(error))
    for fault in faults:
        typer.echo(f"  {fault}", err=True)
    if faults:
        fail(f"expected the files of the release, got {len(faults)} that differ: fetch these again")
    typer.echo(f"verified    {folder}")


@app.command(epilog="Example: petar query funnel --home curated --version 2026-01")
def query(
    name: Annotated[str | None, typer.Argument(help="A file of sql/queries without .sql. [default: a list]")] = None,
    home: Home = DEFAULT_HOME,
    version: Annotated[
        str | None, typer.Option(help="A version of the curation, or the name of an accepted one. [default: the last]")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the queries.")] = False,
) -> None:
    """Print the answer to a question that people ask."""
    if name is None or list_all:
        from pipelines.catalog.build import list_queries

        queries = list_queries()
        width = max(map(len, queries), default=0)
        print("\n".join(f"{name:<{width}}  {comment}" for name, comment in queries.items()))
    else:
        _print_query(home, name, version=version, csv=csv)


def _print_query(home: Path, name: str, *, version: str | None = None, csv: bool = False) -> None:
    from pipelines.catalog.build import CatalogError, list_queries, run_query
    from pipelines.tables.home import Home as HomeFolders

    try:
        result = run_query(HomeFolders(home), name, version=version)
    except CatalogError as error:
        fail(str(error))
    if csv:
        print(result.write_csv(), end="")
        return
    from assets.terminal import print_frame

    print(f"{list_queries()[name]}\n")
    print_frame(result)


@app.command(epilog="Example: petar gallery --cohort scans --home curated")
def gallery(cohort: Cohort = None, home: Home = DEFAULT_HOME, settings: Settings = None) -> None:
    """Curate, and write the review pages and the scorecards."""
    _run(_workspace(cohort, home, settings), lambda runner: runner.walk("review"))


@app.command(epilog="Example: petar train --cohort scans --home curated")
def train(
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A line of [model] as TOML, of this run: 'training.epochs = 3'; may be repeated."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print parameters, memory and hours, train nothing.")] = False,
    processes: Annotated[int, typer.Option(min=1, help="Processes that --plan counts.")] = 1,
    engine: Annotated[Engine, typer.Option(help="local, or slurm: a job of torchrun a stage.")] = Engine.LOCAL,
    nodes: Annotated[int | None, typer.Option(min=1, help="Slurm: nodes of each stage. [default: 1]")] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="Slurm: GPUs of each node, 0: on processors. [default: 1]")
    ] = None,
    partition: Partition = "",
    cpus: Annotated[int | None, typer.Option(min=1, help="Slurm: cores of a node. [default: 4 a GPU]")] = None,
    mem: Memory = "",
    time_limit: TimeLimit = "",
    sbatch: Sbatch = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Slurm: print the scripts, submit nothing.")] = False,
) -> None:
    """Curate, train the six stages, write texts and scores."""
    workspace = _workspace(cohort, home, settings)
    given = {"--nodes": nodes, "--gpus": gpus, "--cpus": cpus, "--dry-run": dry_run}
    named = {"--partition": partition, "--mem": mem, "--time": time_limit, "--sbatch": sbatch}
    _check_engine(engine, {**given, **named}, (Engine.LOCAL, Engine.SLURM))
    if engine is Engine.SLURM:
        from assets.training_jobs import TrainingCall
        from pipelines.curation.engines.slurm import SlurmOptions

        n_gpus = 1 if gpus is None else gpus
        cores = cpus or 4 * max(1, n_gpus)
        options = SlurmOptions(partition, cpus=cores, memory=mem, time=time_limit, more=tuple(sbatch or ()))
        call = TrainingCall(options, nodes or 1, n_gpus, tuple(change or ()))
        _train_on_cluster(workspace, call, dry_run=dry_run)
        return
    if plan:
        _print_plan(workspace, change or [], processes)
        return
    _run(workspace, lambda runner: runner.train(change or []) and runner.job("evaluate"), with_model=True)


def _train_on_cluster(workspace: "Workspace", call: "TrainingCall", *, dry_run: bool) -> None:
    """Hands a training to a cluster, or prints what would be handed over."""
    from assets import training_jobs

    _hand_over(
        workspace,
        lambda: training_jobs.dry_run(workspace, call),
        None if dry_run else lambda: training_jobs.submit_training(workspace, call, lambda line: typer.echo(line)),
    )


def _print_plan(workspace: "Workspace", changes: Sequence[str], processes: int) -> None:
    """Prints the plan of every stage by the settings, with the lake's samples where there are some."""
    from model.petar.config import TRAINING_STAGES, model_config
    from model.petar.devices import pick_device
    from model.training.from_lake import stage_settings
    from model.training.plan import stage_plan
    from pipelines.settings import SettingsError, overlaid, parse

    try:
        model = overlaid(workspace.settings(), {"model": parse("\n".join(changes), "--set")}, "--set").model
        config = model_config(model)
    except SettingsError as error:
        fail(str(error))
    for stage in TRAINING_STAGES:
        if stage.startswith("anatomy") and not config.use_anatomy_pretraining:
            continue
        settings = stage_settings(stage, model)
        print(f"{stage}\n{stage_plan(config, settings, stage, pick_device(), processes, workspace.paths).summary()}")


@app.command(epilog="Example: petar evaluate --cohort scans --home curated")
def evaluate(cohort: Cohort = None, home: Home = DEFAULT_HOME, settings: Settings = None) -> None:
    """Curate, write texts of all models, scores, comparisons, robustness, the external set."""
    jobs = ("evaluate", "robustness_and_external")
    _run(_workspace(cohort, home, settings), lambda runner: runner.walk(*jobs), with_model=True)


@app.command(epilog="Example: petar ablate --cohort scans --home curated")
def ablate(cohort: Cohort = None, home: Home = DEFAULT_HOME, settings: Settings = None) -> None:
    """Curate, train the eight rows of the ablation, and score them."""
    from assets.ablation import ABLATION_PARTITIONS

    conditions = ABLATION_PARTITIONS.get_partition_keys()
    _run(
        _workspace(cohort, home, settings),
        lambda runner: runner.curate() and runner.ablate(conditions),
        with_model=True,
    )


@app.command(epilog="Example: petar study --cohort scans --home curated")
def study(cohort: Cohort = None, home: Home = DEFAULT_HOME, settings: Settings = None) -> None:
    """Curate, write the sheets of the reader study, read ratings back."""
    _run(_workspace(cohort, home, settings), lambda runner: runner.walk("evaluate", "study"), with_model=True)


@app.command(epilog="Example: petar export --cohort scans --home curated")
def export(cohort: Cohort = None, home: Home = DEFAULT_HOME, settings: Settings = None) -> None:
    """Curate, and write the lesions as NIfTI label maps and DICOM SEG, for viewers, and a draft report of each exam."""
    _run(_workspace(cohort, home, settings), lambda runner: runner.walk("export"))


@app.command(epilog="Example: petar report PX-0001 --home curated")
def report(
    exam: Annotated[str, typer.Argument(help="Exam, as the cohort names it.")], home: Home = DEFAULT_HOME
) -> None:
    """Print the draft report of an exam of a curated home as Markdown."""
    from pipelines.exports.report_files import ReportError, ReportTables
    from pipelines.exports.report_pages import markdown_page
    from pipelines.tables.home import Home as Folders
    from pipelines.tables.lake import LakeError

    try:
        text = markdown_page(ReportTables.of(Folders(home)).report(exam))
    except (ReportError, LakeError) as error:
        fail(str(error))
    typer.echo(text, nl=False)


@app.command(epilog="Example: petar followup --cohort scans --home curated")
def followup(cohort: Cohort = None, home: Home = DEFAULT_HOME, settings: Settings = None) -> None:
    """Curate, and link the lesions of each patient's exams over time."""
    _run(_workspace(cohort, home, settings), lambda runner: runner.walk("followup"))


@app.command(epilog="Example: petar propose --cohort scans --home curated")
def propose(cohort: Cohort = None, home: Home = DEFAULT_HOME, settings: Settings = None) -> None:
    """Curate, and propose lesions of exams with and without a report for review."""
    _run(_workspace(cohort, home, settings), lambda runner: runner.walk("find_candidates", "propose"))


@app.command(epilog="Example: petar ui --cohort scans --home curated --port 3000")
def ui(
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login: keep it private.")] = _HOST,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 3000,
) -> None:
    """Open Dagster's UI over a home."""
    from assets.instance import DatabaseError, StorageError, dagster_instance, instance_variables

    workspace = _workspace(cohort, home, settings)
    try:
        # The storage of a new home is made here, before the processes of the UI would make it side by side.
        with dagster_instance(workspace.paths):
            pass
    except (StorageError, DatabaseError) as error:
        fail(str(error))
    named = {"PETAR_HOME": workspace.home, "PETAR_COHORT": workspace.cohort, "PETAR_SETTINGS": workspace.settings_file}
    typer.echo(
        "the UI has no login and takes any Host header: a web page that you open could reach it by a name of its own "
        "that points here; keep it private, and close it when you are done",
        err=True,
    )
    code_location = str(Path(__file__).with_name("workspace.yaml"))
    command = [sys.executable, "-m", "dagster", "dev", "-w", code_location, "--host", host, "--port", str(port)]
    os.execve(sys.executable, command, {**os.environ, **named, **instance_variables(workspace.paths)})


@app.command("settings", epilog="Example: petar settings --cohort scans --all")
def show_settings(
    cohort: Cohort = None,
    settings: Settings = None,
    show_all: Annotated[bool, typer.Option("--all", help="Those with their default value too.")] = False,
) -> None:
    """Check the settings of a cohort and print those that differ from the defaults."""
    from assets.terminal import print_table
    from pipelines.settings import ProjectSettings, SettingsError, load_settings

    try:
        found = _flat(load_settings(settings, cohort).model_dump(mode="json"))
    except SettingsError as error:
        fail(str(error))
    defaults = _flat(ProjectSettings().model_dump(mode="json"))
    rows = [(name, value, defaults.get(name)) for name, value in found.items()]
    print_table(["setting", "value", "default"], [row for row in rows if show_all or row[1] != row[2]])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested tables by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {prefix + name: value}
    return found


@app.command(epilog="Example: petar doctor --home curated")
def doctor(home: Home = DEFAULT_HOME) -> None:
    """Say what is missing on this machine and what it would enable; exit code 1 where a needed part is missing."""
    from assets.doctor import examine, python_version
    from assets.terminal import print_table

    findings = examine(home)
    print(python_version())
    print_table(
        ["part", "", "found", "enables"],
        [(f.part, "ok" if f.is_there else "MISSING" if f.is_needed else "-", f.found, f.enables) for f in findings],
    )
    raise typer.Exit(1 if any(f.is_needed and not f.is_there for f in findings) else 0)


@app.command(epilog="Example: petar describe --checkpoint model --pet SUV.nii.gz --ct CT.nii.gz --mask MASK.nii.gz")
def describe(
    checkpoint: Checkpoint,
    pet: Annotated[Path, typer.Option(help="NIfTI in SUV by body weight.")],
    mask: Annotated[Path, typer.Option(help="NIfTI, not 0 on the lesion; its grid may be another, or cropped.")],
    ct: Annotated[Path | None, typer.Option(help="NIfTI in HU; without one the CT is taken as air.")] = None,
    question: Annotated[
        str | None, typer.Option(help="What the model is asked. [default: what it was trained on]")
    ] = None,
    device: Device = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Text, text_measured and the measured values as JSON.")] = False,
) -> None:
    """Describe one lesion, given its images and mask."""
    from dataclasses import asdict

    from model.inputs.tensors import SampleError
    from model.petar.checkpoints import CheckpointError
    from model.petar.devices import DeviceError
    from model.serving.describe import describe_files
    from pipelines.imaging.problems import ExamError

    try:
        described = describe_files(checkpoint, pet, mask, ct, question, device)
    except (SampleError, CheckpointError, DeviceError, ExamError) as error:
        fail(f"cannot describe the lesion: {error}")
    print(dumps(asdict(described), indent=1) if json else described.text_measured)


@app.command(epilog="Example: petar serve --checkpoint model --files /exams")
def serve(
    checkpoint: Checkpoint,
    files: Annotated[Path | None, typer.Option(help="Folder below which paths in requests are read.")] = None,
    name: Annotated[str, typer.Option(help="Name of the model in requests.")] = "petar",
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login: keep it private.")] = _HOST,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    device: Device = "cpu",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name of the server in Host headers, or * for any; may be repeated."),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="`own`: the whole model in this process; `vllm`: the language part on a vLLM server.")
    ] = "own",
    engine_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of that server on this machine.")] = 8001,
    venv: Annotated[
        Path | None, typer.Option(help="Virtual environment of vLLM. [default: .venv-vllm of the checkout]")
    ] = None,
) -> None:
    """Serve a checkpoint as an OpenAI-compatible chat endpoint."""
    from contextlib import ExitStack

    from model.evaluation.predictions import checkpoint_version
    from model.petar.checkpoints import CheckpointError
    from model.petar.devices import DeviceError, pick_device
    from model.petar.hub import from_pretrained
    from model.serving.engines import OwnEngine, VllmEngine
    from model.serving.language_server import language_plan, language_server
    from model.serving.server import Service
    from model.serving.server import serve as serve_until_interrupted
    from pipelines.reports.llm.vllm_server import ServerError

    if engine not in ("own", "vllm"):
        fail(f"expected --engine own or vllm, got {engine}")
    with ExitStack() as stack:
        try:
            loaded, place = from_pretrained(checkpoint), pick_device(device)
            if engine == "own":
                answering: OwnEngine | VllmEngine = OwnEngine(loaded, place)
            else:
                base = _server_plan(venv, port=engine_port, gpu=shutil.which("nvidia-smi") is not None)
                plan = language_plan(loaded, checkpoint_version(loaded.folder), base)
                stack.enter_context(language_server(loaded, plan))
                answering = VllmEngine(loaded, plan.url, plan.name, place)
        except (CheckpointError, DeviceError, ServerError) as error:
            fail(f"cannot serve: {error}")
        serve_until_interrupted(Service(loaded, name, files, engine=answering), host, port, allow_host or ())


@reader.command("train", epilog="Example: petar reader train --cohort scans --home curated")
def reader_train(
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
    base: Annotated[
        str, typer.Option(help="`tagger`, or name or folder of a language model of Hugging Face that gets LoRA.")
    ] = "tagger",
    out: Annotated[Path | None, typer.Option(help="[default: HOME/readers/ and the last part of base]")] = None,
) -> None:
    """Train a reader of reports on generated passages, the labelled texts and what reviewers have judged."""
    import logging

    from model.readers.examples import training_examples
    from model.readers.language_model import PROMPT, BaseModelError, questions, train_language_model
    from model.readers.train import train_tagger
    from pipelines.reports.llm.prompting import load_prompt
    from pipelines.reports.reviewed_passages import reviewed_passages
    from pipelines.tables.lake import Lake

    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    workspace = _workspace(cohort, home, settings)
    _check_workspace(workspace)
    training, words = workspace.settings().reader_training, workspace.readers().vocabulary
    lake = Lake(workspace.paths.lake)
    judged = reviewed_passages(*(lake.read_table(name) for name in ("sentences", "findings", "reviews")))
    folder = (out or workspace.paths.root / "readers" / Path(base).name).absolute()
    name = folder.name.lower()
    print(f"reader: {len(workspace.labelled())} labelled and {len(judged)} reviewed texts")
    if base == "tagger":
        trained = train_tagger(folder, workspace.labelled(), judged, training, words)
        for result in trained.results:
            print(f"seed {result.seed}: {result.right} of {result.n} held-out texts right, {result.wrong} with a wrong"
                  f" pair (rules: {result.rules_right}, {result.rules_wrong}); p = {result.p:.3f}")  # fmt: skip
        print(f"vote: {'yes' if trained.may_vote else 'no'}, {trained.why}")
        entry = {"kind": "python", "factory": "model.readers.reader:load_tagger", "model": str(trained.folder)}
    else:
        asked = list(questions(training_examples(workspace.labelled(), judged, training, training.seeds[0]), words))
        try:
            folder = train_language_model(base, folder, asked, load_prompt(PROMPT), training)
        except BaseModelError as error:
            fail(str(error))
        entry = {"kind": "llm", "model": str(folder), "prompt": PROMPT}
    print("for the cohort's readers_file:\n[[reader]]")
    print("\n".join(f"{key} = {dumps(value)}" for key, value in {"name": name, **entry}.items()))
    if base != "tagger":
        print("may_vote = false  # until the scorecard shows that it reads reviewed texts better than the rules")


Venv = Annotated[Path | None, typer.Option(help="Virtual environment of vLLM. [default: .venv-vllm of the checkout]")]
Port = Annotated[int, typer.Option(min=1, max=65535)]


@vllm.command("start", epilog="Example: petar vllm start --gpu --model mistralai/Mistral-7B-Instruct-v0.3")
def vllm_start(
    venv: Venv = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = _HOST,
    port: Port = 8000,
    gpu: Annotated[bool | None, typer.Option("--gpu/--no-gpu", help="[default: where nvidia-smi is found]")] = None,
    model: Annotated[
        str | None, typer.Option(help="Name or path. [default: SmolLM2-135M on a CPU, Mistral-7B-Instruct on a GPU]")
    ] = None,
    served_name: Annotated[str | None, typer.Option(help="What clients call the model. [default: its name]")] = None,
    torch: Annotated[str | None, typer.Option(help="Requirement of the CPU build of torch.")] = None,
    max_model_len: Annotated[int, typer.Option(help="Tokens of prompt and answer together.")] = 4096,
    wait: Annotated[float, typer.Option(help="Seconds until it must be healthy.")] = 900.0,
    readers: Annotated[
        Path | None, typer.Option(help="File of readers: start the model of each enabled one that is on this machine.")
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(help="Options of vLLM itself, after --.")] = None,
) -> None:
    """Make what is missing, start the server, and return when it is healthy."""
    from pipelines.reports.llm.llm_reader import LlmReader
    from pipelines.reports.llm.readers_file import ReadersError, load_readers
    from pipelines.reports.llm.vllm_server import TORCH, ServerError, plans_for, start

    plan = _server_plan(
        venv,
        host=host,
        port=port,
        gpu=shutil.which("nvidia-smi") is not None if gpu is None else gpu,
        model=model,
        served_name=served_name,
        torch=torch or TORCH,
        max_model_len=max_model_len,
        wait_s=wait,
        arguments=tuple(more or []),
    )
    plans, reasons = [plan], list[str]()
    if readers is not None:
        try:
            asked = [r.server for r in load_readers(readers).readers if isinstance(r, LlmReader)]
        except ReadersError as error:
            fail(str(error))
        plans, reasons = plans_for(asked, plan)
        if not asked:
            reasons = [f"no language model is enabled in {readers}"]
    for one in plans:
        try:
            start(one)
        except ServerError as error:
            reasons.append(f"{one.name}: {error}")
    if reasons:
        fail("\n".join(f"not started: {reason}" for reason in reasons))


@vllm.command("batch", epilog="Example: petar vllm batch qwen3-30b questions.jsonl --cohort cohort")
def vllm_batch(
    reader: Annotated[str, typer.Argument(help="Name of the reader in the cohort's readers_file.")],
    questions: Annotated[Path, typer.Argument(help="File of questions to write, for `vllm run-batch -i`.")],
    take: Annotated[Path | None, typer.Option(help="Take back this file of answers (`vllm run-batch -o`).")] = None,
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
) -> None:
    """Read a whole cohort as one offline job: write the questions, then take the answers back."""
    from pipelines.curation.stages.report_rows import cohort_passages
    from pipelines.reports.llm.llm_reader import LlmReader
    from pipelines.reports.llm.offline import BatchError, take_batch, write_batch
    from pipelines.tables.lake import Lake

    workspace = _workspace(cohort, home, settings)
    config = workspace.readers()
    models = {r.name: r for r in config.readers if isinstance(r, LlmReader)}
    if reader not in models:
        fail(f"expected a language model of the readers' file ({', '.join(models) or 'none is enabled'}), got {reader}")
    asked = models[reader]
    assert asked.cache is not None
    passages = cohort_passages(Lake(workspace.paths.lake), config.vocabulary)
    if take is None:
        n = write_batch(asked, passages, asked.cache, questions)
        print(f"batch: {n} questions in {questions}; `vllm run-batch -i {questions} -o answers.jsonl --model"
              f" {asked.server.model}`, then this command again with --take answers.jsonl")  # fmt: skip
        return
    try:
        taken = take_batch(asked, passages, asked.cache, take)
    except (BatchError, OSError) as error:
        fail(str(error))
    print(
        f"batch: {taken.kept} answers kept, {taken.cut} cut off, {taken.failed} failed, {taken.unknown} of no passage"
    )


@vllm.command("slurm", epilog="Example: petar vllm slurm Qwen/Qwen3-30B-A3B --home curated --servers 4 --gpus 1")
def vllm_slurm(
    model: Annotated[str, typer.Argument(help="Name or path of the model.")],
    home: Home = DEFAULT_HOME,
    servers: Annotated[int, typer.Option(min=1, help="Servers, a job each.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each, 0: on processors.")] = 1,
    served_name: Annotated[str, typer.Option(help="`model` in the readers' file. [default: the model]")] = "",
    partition: Partition = "",
    cpus: Annotated[int, typer.Option(min=1, help="Slurm: cores of each.")] = 8,
    mem: Memory = "",
    time_limit: TimeLimit = "",
    sbatch: Sbatch = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script, submit nothing.")] = False,
    more: Annotated[list[str] | None, typer.Argument(help="Options of vLLM itself, after --.")] = None,
) -> None:
    """Start servers as jobs of a Slurm cluster; readers without a base_url find them while they are up."""
    from pipelines.curation.engines.batch import new_folder
    from pipelines.curation.engines.server_jobs import ServerCall, server_script
    from pipelines.curation.engines.slurm import (
        SlurmError,
        SlurmOptions,
        check_cluster,
        printed,
        submit_from,
    )
    from pipelines.reports.llm.server_addresses import forget_dead_servers
    from pipelines.tables.home import Home as HomeFolders

    paths = HomeFolders(home.absolute())
    options = SlurmOptions(partition, cpus=cpus, memory=mem, time=time_limit, more=tuple(sbatch or ()))
    call = ServerCall(options, model, served_name or model, servers, gpus, tuple(more or ()))
    if dry_run:
        script = server_script(paths.root, paths.servers, call, paths.batches / "<folder of the submission>")
        typer.echo(printed([script], first=""), nl=False)
        return
    try:
        check_cluster(paths.root, [], options, lambda line: typer.echo(line))
        forget_dead_servers(paths.servers)
        folder = new_folder(paths.batches, "vllm")
        (job,) = submit_from(folder, [server_script(paths.root, paths.servers, call, folder)], first="")
    except SlurmError as error:
        fail(str(error))
    typer.echo(f"  job {job}   {servers} of {call.served_name}; their addresses will be in {paths.servers}")
    typer.echo(f"scripts, logs  {folder}    (scancel {job} ends them)")


@vllm.command("stop", epilog="Example: petar vllm stop --port 8000")
def vllm_stop(venv: Venv = None, port: Port = 8000) -> None:
    """Stop the server that was started on a port."""
    from pipelines.reports.llm.vllm_server import ServerError, stop

    plan = _server_plan(venv, port=port)
    try:
        print(f"vllm: stopped the server at {plan.url}" if stop(plan) else f"vllm: no server of ours at {plan.url}")
    except ServerError as error:
        fail(str(error))


@vllm.command("status", epilog="Example: petar vllm status")
def vllm_status(
    venv: Venv = None, host: Annotated[str, typer.Option(help="Address to ask.")] = _HOST, port: Port = 8000
) -> None:
    """Say whether the server is healthy; exit code 1 where it is not."""
    from pipelines.reports.llm.vllm_server import is_healthy, served_models

    plan = _server_plan(venv, host=host, port=port)
    healthy = is_healthy(plan)
    print(f"vllm: {plan.url}: {'healthy, ' + ', '.join(served_models(plan)) if healthy else 'not healthy'}")
    raise typer.Exit(0 if healthy else 1)


def _server_plan(venv: Path | None, **fields: Any) -> "ServerPlan":
    from pipelines.reports.llm.vllm_server import DEFAULT_VENV, ServerPlan

    return ServerPlan(venv=(venv or DEFAULT_VENV).absolute(), **fields)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of a call; as the console script (no arguments given) it ends the process."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    try:
        app(args=arguments, prog_name="petar")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        code = 130
    if arguments is None:
        sys.stdout.flush()
        sys.stderr.flush()
        # torch keeps modules alive beyond the interpreter's end, which bindings of others then report as leaks, a page
        # of them.
        os._exit(code)
    return code


if __name__ == "__main__":
    main()
