"""SIGKILL at random moments, each followed by a rerun that must end as if nothing had happened.

python -m benchmarks.kills [--kills 50] [--seed 1] [--only curation] [--only catalog ...]

What is killed, in turn: a curation of a phantom cohort after exams came, went and changed; the swap of a catalog; the
training of a micro model, which saves its state at every step; a curation through Dagster's jobs. After each rerun
every table, mask, volume and weight must be equal to the byte, every file of the home must be one that an undisturbed
run leaves too, the catalog must show the same rows, and no run of Dagster may be left as started. Exits 1 where one is
not. Kills that come after the work is done do not count and are tried again.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from pathlib import Path

import polars as pl
import typer

from assets import cli
from assets.instance import dagster_instance
from model.petar.config import InputsConfig, LanguageConfig, ModelConfig, TrainingSettings, VisionConfig
from model.training.request import StageRequest, StageSamples
from model.training.train import train_stage
from pipelines.catalog.build import build_catalog, connect, list_views
from pipelines.cohort import manifest as manifest_module
from pipelines.cohort import observation as observation_module
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import PHASES, open_curation, run_stage, stale_shards
from pipelines.curation.unreferenced_files import collect_files
from pipelines.phantom import PhantomSettings, add_exam, write_cohort
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


class Kind(StrEnum):
    """What is killed."""

    CURATION = "curation"
    CATALOG = "catalog"
    TRAINING = "training"
    DAGSTER = "dagster"


_TURNS = ("curation", "catalog", "training", "curation", "catalog", "training", "curation", "dagster")
_PATIENCE_S = 900
_UNCOMPARED = ("locks/", "dagster/")
"""Lock files stay as empty files; Dagster's own storage tells of the runs that were killed."""


class _Clock(datetime):
    """A clock that stands still, so that times noted in tables do not tell one run from another."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_Clock":
        return cls(2026, 1, 1, tzinfo=tz or UTC)


def _stop_the_clock() -> None:
    for module in (manifest_module, observation_module):
        module.datetime = _Clock  # type: ignore[attr-defined]


# --- what is killed: each is called in a process of its own ---


def curate(cohort: Path, home: Home) -> None:
    """Observes, curates what is stale, publishes, collects."""
    _stop_the_clock()
    observe_cohort(cohort, home.manifest)
    curation = open_curation(home)
    for tables in PHASES:
        for shard in stale_shards(curation, tables):
            for table in tables:
                run_stage(curation, table, shard)


def publish(home: Home) -> None:
    """Builds and swaps the catalog, and collects files that no table names."""
    build_catalog(home)
    collect_files(home)


def curate_and_publish(cohort: Path, home: Home) -> None:
    """A whole curation without Dagster."""
    curate(cohort, home)
    publish(home)


def curate_through_dagster(cohort: Path, home: Home) -> None:
    """A whole curation as `make curate` runs it."""
    _stop_the_clock()
    with open(os.devnull, "w") as silent:
        os.dup2(silent.fileno(), 1)
        if cli.main(["curate", "--cohort", str(cohort), "--home", str(home.root)]):
            raise SystemExit("the command line failed")


def train(home: Home) -> None:
    """Trains a micro model for some steps on the lesions of the home."""
    config = ModelConfig(
        name="micro",
        vision=VisionConfig(image_shape=(8, 16, 16), patch_shape=(4, 8, 8), width=32, layers=1, heads=2, mlp_width=64),
        language=LanguageConfig(vocab_size=400, width=32, layers=1, heads=2, mlp_width=64, max_positions=128),
        inputs=InputsConfig(global_crop="whole", field_voxels=(60, 40, 40), slices_around=12, focal_margin_voxels=4),
        max_length=96,
    )
    settings = TrainingSettings(
        epochs=3, batch_size=2, learning_rate=3e-3, save_every_s=0, validation_samples=2, without_ct="air", loggers=()
    )
    lake = Lake(home.lake)
    exams = {row["exam_id"]: row for row in lake.read_table("exams").iter_rows(named=True)}
    rows = [
        {
            "sample_id": row["finding_id"],
            "exam_id": row["exam_id"],
            "question": "Please describe the region highlighted in the PET image.",
            "target": row["sentence"][:60],
            "suv_path": exams[row["exam_id"]]["suv_path"],
            "ct_path": exams[row["exam_id"]]["ct_path"],
            "mask_path": row["mask_path"],
            "mask_label": 1,
        }
        for row in lake.read_table("lesions").filter(pl.col("outcome") == "lesion").iter_rows(named=True)
    ]
    samples = pl.DataFrame(rows[:12])
    halves = StageSamples(samples[:-2], samples[-2:], home)
    train_stage(StageRequest("findings_full", halves, config, settings, home.checkpoints / "findings_full"))


def change(cohort: Path) -> None:
    """One exam comes, one goes, one report is longer."""
    add_exam(cohort)
    reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
    gone, longer = reports["exam_id"][0], reports["exam_id"][1]
    more = pl.when(pl.col("exam_id") == longer).then(pl.lit("\nNo further abnormality.")).otherwise(pl.lit(""))
    reports.filter(pl.col("exam_id") != gone).with_columns(pl.col("findings") + more).write_csv(cohort / "reports.csv")
    shutil.rmtree(cohort / "exams" / gone, ignore_errors=True)


def look(home: Home, out: Path) -> None:
    """Writes what the catalog shows: a hash of the rows of every view; and how many runs stand as started."""
    shown = {}
    with connect(home) as con:
        for view in list_views():
            frame = con.sql(f"select * from {view}").pl()
            frame = frame.select(sorted(frame.columns)).sort(pl.all(), nulls_last=True)
            shown[view] = hashlib.sha256(frame.write_json().encode()).hexdigest()
    runs = 0
    if (home.root / "dagster").is_dir():
        from dagster import DagsterRunStatus, RunsFilter

        with dagster_instance(home) as instance:
            runs = instance.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
    out.write_text(json.dumps({"views": shown, "started": runs}))


# --- the trial ---


@dataclass(frozen=True)
class State:
    """A home as it lies on the disk, and what its catalog shows."""

    files: dict[str, str]
    views: dict[str, str]
    started: int = 0

    def differences(self, other: "State") -> list[str]:
        """What of another state is not as here, in words."""
        words = [f"missing: {path}" for path in sorted(set(self.files) - set(other.files))]
        words += [f"orphan: {path}" for path in sorted(set(other.files) - set(self.files))]
        words += [f"differs: {p}" for p in sorted(self.files) if p in other.files and self.files[p] != other.files[p]]
        words += [f"view {view} differs" for view in self.views if self.views[view] != other.views.get(view)]
        return words + ([f"{other.started} runs stand as started"] if other.started else [])


def in_process(work: Callable[[], None], kill_after_s: float | None = None) -> tuple[bool, float]:
    """(whether it was killed, seconds) of a call in a forked process. An error of the call ends everything."""
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        seconds = time.monotonic() - start
        if done:
            if os.WIFSIGNALED(status):
                return True, seconds
            if status:
                raise SystemExit(f"the work failed with exit code {os.waitstatus_to_exitcode(status)}")
            return False, seconds
        if (kill_after_s is not None and seconds >= kill_after_s) or seconds > _PATIENCE_S:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if seconds > _PATIENCE_S:
                raise SystemExit(f"the work did not end in {_PATIENCE_S} s: a lock that was left behind?")
            return True, seconds
        time.sleep(0.002)


def state_of(home: Home, scratch: Path) -> State:
    """What a home holds now."""
    files = {}
    for path in sorted(home.root.rglob("*")):
        name = str(path.relative_to(home.root))
        if path.is_file() and not name.startswith(_UNCOMPARED):
            # Equal catalogs differ in bytes; they are compared by what they show. What checks remember of a file names
            # the file's time.
            is_whole = not name.endswith(".duckdb") and not name.startswith("checked/")
            files[name] = _comparable(path) if is_whole else "there"
    out = scratch / "shown.json"
    in_process(lambda: look(home, out))
    shown = json.loads(out.read_text())
    return State(files, shown["views"], shown["started"])


def _comparable(path: Path) -> str:
    """Hash of a file's bytes; of records of training and of versions without when it was and how long it took."""
    data = path.read_bytes()
    if {"checkpoints", "versions"} & set(path.parts) and path.suffix in (".json", ".jsonl"):
        lines = [json.loads(line) for line in data.decode().splitlines()] if path.suffix == ".jsonl" else None
        data = json.dumps(_without_time(lines if lines is not None else json.loads(data)), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def _without_time(value: object) -> object:
    if isinstance(value, dict):
        timed = ("second", "per_s", "resumed", "created_at")
        return {k: _without_time(v) for k, v in value.items() if not any(word in k for word in timed)}
    return [_without_time(v) for v in value] if isinstance(value, list) else value


def restore(base: Path, home: Home) -> None:
    """Puts a home back to a state, hard links and times with it."""
    shutil.rmtree(home.root, ignore_errors=True)
    subprocess.run(["cp", "-a", str(base), str(home.root)], check=True)


@dataclass(frozen=True)
class Scene:
    """A kind of work: where it starts, what it does, and how it ends undisturbed."""

    base: Path
    work: Callable[[], None]
    seconds: float
    end: State


def soak(folder: Path, n_kills: int, seed: int, kinds: Sequence[str]) -> list[str]:
    """What was not as in an undisturbed run, over `n_kills` kills, in words."""
    rng, cohort, home = random.Random(seed), folder / "cohort", Home(folder / "home")
    settings = PhantomSettings(n_patients=3, n_exams=4, size="small", with_faults=True)
    in_process(lambda: void(write_cohort(cohort, settings)))
    in_process(lambda: curate_and_publish(cohort, home))
    first = folder / "first"
    subprocess.run(["cp", "-a", str(home.root), str(first)], check=True)
    in_process(lambda: change(cohort))
    in_process(lambda: curate(cohort, home))
    unpublished = folder / "unpublished"
    subprocess.run(["cp", "-a", str(home.root), str(unpublished)], check=True)

    def scene(base: Path, work: Callable[[], None]) -> Scene:
        restore(base, home)
        _, seconds = in_process(work)
        return Scene(base, work, seconds, state_of(home, folder))

    make: dict[str, Callable[[], Scene]] = {
        "curation": lambda: scene(first, lambda: curate_and_publish(cohort, home)),
        "catalog": lambda: scene(unpublished, lambda: publish(home)),
        "training": lambda: scene(unpublished, lambda: train(home)),
        "dagster": lambda: scene(first, lambda: curate_through_dagster(cohort, home)),
    }
    scenes = {kind: make[kind]() for kind in Kind if kind in kinds}
    for kind, found in scenes.items():
        print(f"{kind}: {found.seconds:.1f} s undisturbed, {len(found.end.files)} files", flush=True)
    turns = [kind for kind in _TURNS if kind in kinds]
    wrong: list[str] = []
    done = 0
    while done < n_kills:
        kind = turns[done % len(turns)]
        found = scenes[kind]
        restore(found.base, home)
        killed, after_s = in_process(found.work, rng.uniform(0.02, 1) * found.seconds)
        if not killed:
            continue
        done += 1
        partial = sum(1 for path in home.root.rglob("*.partial*"))
        in_process(lambda: look(home, folder / "between.json"))  # A reader sees the old catalog or the new one.
        _, again_s = in_process(found.work)
        problems = found.end.differences(state_of(home, folder))
        wrong += [f"{kind}, kill {done} after {after_s:.2f} s: {words}" for words in problems]
        verdict = "equal" if not problems else f"WRONG ({len(problems)}): {problems[0]}"
        print(
            f"{done:3d} {kind:<9} killed after {after_s:6.2f} s, {partial} unfinished files; "
            f"rerun {again_s:6.2f} s: {verdict}",
            flush=True,
        )
    return wrong


def void(value: object) -> None:
    """Nothing, of anything."""


def main(kills: int = 50, seed: int = 1, only: list[Kind] | None = None) -> None:
    """Kills and reruns; exits 1 where a rerun did not end as an undisturbed run does."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="petar-kills-") as folder:
        wrong = soak(Path(folder), kills, seed, only or list(Kind))
    for words in wrong:
        print(words)
    print(f"{kills} kills, seed {seed}: {len(wrong)} differences, {time.monotonic() - start:.0f} s")
    raise typer.Exit(bool(wrong))


if __name__ == "__main__":
    typer.run(main)
