"""The command line, end to end on a small phantom, as make calls it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.cli import main
from assets.instance import dagster_instance
from model.petar.config import TRAINING_STAGES
from pipelines.catalog.build import build_catalog, connect, list_queries
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.stages import sentences_stage
from pipelines.phantom import add_exam
from pipelines.reports.llm import vllm_server
from pipelines.settings import COHORT_SETTINGS_NAME
from pipelines.tables.home import Home
from tests.support.paths import ROOT

SETTINGS = """
[samples]
val = 0.3
test = 0.3
anatomy_per_exam = 4
[model]
effort = 0.05
[model.training]
epochs = 1
"""


def call(command: str, cohort: Path, home: Path) -> tuple[int, str, str]:
    """(exit code, output, errors) of a call of the command line."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "assets.cli", command, "--cohort", str(cohort), "--home", str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


HEAVY = {"dagster", "torch", "numba", "scipy", "pandas", "skimage", "SimpleITK", "duckdb", "pydicom", "polars"}


def quick_call(arguments: list[str], heavy: set[str] = HEAVY, **variables: str) -> subprocess.CompletedProcess[str]:
    """A call in a process of its own, which prints its exit code and the heavy modules that it has loaded."""
    script = (
        f"import sys; from assets.cli import main; code = main({arguments}); "
        f"print(code, sorted(set({sorted(heavy)}) & sys.modules.keys()))"
    )
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )


def runs_of(home: Path) -> int:
    """Runs in Dagster's instance of a home."""
    with dagster_instance(Home(home)) as instance:
        return instance.get_runs_count()


class TestTrainPlan:
    def test_counts_memory_and_hours_of_every_stage_and_trains_nothing(self, tmp_path: Path, capsys: Any) -> None:
        change = 'preset = "petar-4b"'
        assert main(["train", "--home", str(tmp_path), "--plan", "--set", change, "--processes", "2"]) == 0
        out = capsys.readouterr().out
        assert [line for line in out.splitlines() if line in TRAINING_STAGES] == list(TRAINING_STAGES)
        assert out.count("by 2 processes") == len(TRAINING_STAGES)
        assert list(tmp_path.iterdir()) == []

    def test_a_line_that_is_no_setting_is_named(self, tmp_path: Path, capsys: Any) -> None:
        assert main(["train", "--home", str(tmp_path), "--plan", "--set", "training.epoch = 3"]) == 1
        assert "epoch" in capsys.readouterr().err


class TestCurate:
    def test_refuses_a_folder_that_is_no_cohort(self, tmp_path: Path) -> None:
        code, _, errors = call("curate", tmp_path / "nowhere", tmp_path / "home")
        assert code == 1
        assert "expected a cohort folder" in errors

    def test_refuses_a_setting_that_does_not_exist(self, tmp_path: Path) -> None:
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\n")
        (tmp_path / COHORT_SETTINGS_NAME).write_text("[lesion]\n")
        code, _, errors = call("curate", tmp_path, tmp_path / "home")
        assert code == 1
        assert "got lesion" in errors

    def test_refuses_a_value_before_anything_is_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\n")
        (tmp_path / COHORT_SETTINGS_NAME).write_text("[lesions.contour]\nbackground_part = 7.0\nshell_mm = [4.3]\n")
        assert main(["curate", "--cohort", str(tmp_path), "--home", str(tmp_path / "home")]) == 1
        assert capsys.readouterr().err.count("in [lesions.contour] of") == 2
        assert not (tmp_path / "home").exists()

    def test_needs_a_cohort(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.delenv("PETAR_COHORT", raising=False)
        assert main(["curate"]) == 2
        assert "--cohort" in capsys.readouterr().err


class TestLosses:
    def test_stop_the_call_tell_it_once_and_are_accepted_by_an_option(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["curate", "--cohort", str(tmp_path), "--home", str(tmp_path / "home")]
        rows = "".join(f"E{n},P0,Nodule with SUV max of 8.0 (slice 8).\n" for n in range(8))
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\n" + rows)
        observe_cohort(tmp_path, tmp_path / "home" / "manifest")
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\nE0,P0,Text.\n")
        assert main(arguments) == 1
        printed = capsys.readouterr()
        assert printed.err.count("--accept-removals") == 1
        assert "everything else is done" not in printed.out
        # The check that fails is told with what to do, and counts where that is asked for.
        assert main([*arguments, "--accept-removals", "--strict"]) == 1
        printed = capsys.readouterr()
        assert re.search(r"check +usable_exams \(warning\): .*1 of 1 wrong\. What to do: ", printed.out)
        assert "checks failed: usable_exams" in printed.err
        with connect(Home(tmp_path / "home")) as con:
            assert con.sql("select exam_id from exams").fetchall() == [("E0",)]
        # The next call finds all of that unchanged: it says and judges the same, without a run.
        n_runs = runs_of(tmp_path / "home")
        again = quick_call([*arguments, "--strict"])
        assert again.stdout.splitlines()[-1] == "1 []"
        assert "nothing to recompute" in again.stdout
        assert "checks failed: usable_exams" in again.stderr
        told = [line for line in printed.out.splitlines() if "work in" not in line and not line.startswith("curate:")]
        assert set(told) <= set(again.stdout.splitlines())
        assert runs_of(tmp_path / "home") == n_runs

    def test_of_a_cohort_that_was_never_curated_name_no_catalog(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\nE0,P0,Text.\n")
        (tmp_path / "corrections.csv").write_text("finding,field\n")
        assert main(["curate", "--cohort", str(tmp_path), "--home", str(tmp_path / "home")]) == 1
        printed = capsys.readouterr()
        assert printed.err.count("expected the columns finding") == 1
        assert "catalog" not in printed.out


class TestInterruption:
    def test_stops_after_the_exam_in_hand_and_the_next_call_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["curate", "--cohort", str(tmp_path), "--home", str(tmp_path / "home")]
        rows = "".join(f"E{n},P0,Nodule with SUV max of 8.0 (slice 8).\n" for n in range(3))
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\n" + rows)
        split, calls = sentences_stage.split_report, []

        def interrupted(exam_id: str, *more: Any) -> Any:
            calls.append(exam_id)
            if len(calls) == 1:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)
            return split(exam_id, *more)

        monkeypatch.setattr(sentences_stage, "split_report", interrupted)
        assert main(arguments) == 130
        assert len(calls) == 1
        assert "stopped by Ctrl-C" in capsys.readouterr().err
        assert main(arguments) == 0
        assert len(calls) == 3


class TestFailures:
    """Faults of our own code in reports of which there are no images."""

    def test_of_all_exams_publish_nothing_and_the_next_call_recovers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cohort, home = tmp_path / "my cohort", tmp_path / "home"
        cohort.mkdir()
        report = "Right lower lobe nodule with SUV max of 8.0 (slice 8)."
        (cohort / "reports.csv").write_text(f"exam_id,patient_id,findings\nE1,P1,{report}\nE2,P2,{report}\n")

        def fail(*_: object) -> None:
            raise RuntimeError("Jane Doe")

        monkeypatch.setattr(sentences_stage, "split_report", fail)
        assert main(["curate", "--cohort", str(cohort), "--home", str(home)]) == 1
        errors = capsys.readouterr().err
        assert "nothing is published: 2 of 2 computed exams failed in `sentences`" in errors
        assert "Jane Doe" not in errors
        assert not Home(home).catalog.exists()
        monkeypatch.undo()
        assert main(["curate", "--cohort", str(cohort), "--home", str(home)]) == 0
        with connect(Home(home)) as con:
            outcomes = con.sql("select text_outcome, outcome from findings").fetchall()
        assert outcomes == [("accepted", "exam without usable images")] * 2


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose catalog is empty."""
    home = tmp_path_factory.mktemp("published")
    build_catalog(Home(home))
    return home


class TestQuery:
    def test_prints_the_table_with_its_comment(self, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "funnel", "--home", str(published)]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("Attrition")
        assert re.search(r"\| lesions +\| +null +\| +0 \|", printed)

    def test_no_catalog_is_an_error_with_a_remedy(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "funnel", "--home", str(tmp_path)]) == 1
        assert "materialise `catalog`" in capsys.readouterr().err

    def test_lists_every_query(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "--list"]) == main(["query"]) == 0
        out = capsys.readouterr().out
        assert all(name in out for name in list_queries())

    def test_csv(self, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "funnel", "--csv", "--home", str(published)]) == 0
        assert pl.read_csv(capsys.readouterr().out.encode())["n"].to_list()[0] == 0

    def test_reader_that_stops_early_is_no_error(self, published: Path) -> None:
        command = f"{sys.executable} -m assets.cli query funnel --home '{published}' | head -n 1"
        done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert done.stdout.startswith("Attrition")


class TestCommands:
    NAMES = (
        *("curate", "demo", "rerun", "accept", "query", "gallery", "train", "evaluate", "ablate", "study", "export"),
        *(
            "followup",
            "report",
            "describe",
            "serve",
            "ui",
            "settings",
            "doctor",
            "vllm start",
            "vllm stop",
            "vllm status",
            *(f"model {name}" for name in ("train", "convert", "export", "push", "pull")),
        ),
    )

    @pytest.mark.parametrize("name", NAMES)
    def test_help_has_an_example(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*name.split(), "--help"]) == 0
        assert f"Example: petar {name}" in capsys.readouterr().out

    def test_unknown_command_is_a_usage_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["curat"]) == 2
        assert "curat" in capsys.readouterr().err

    @pytest.mark.parametrize("call", [["--help"], ["query", "funnel"], ["settings"], ["doctor"]])
    def test_the_quick_ones_load_neither_dagster_nor_torch(self, call: list[str], published: Path) -> None:
        heavy = {"dagster", "torch", "numba", "scipy", "pandas"}
        done = quick_call(call, heavy, PETAR_HOME=str(published))
        assert done.stdout.splitlines()[-1] == "0 []"


class TestSettings:
    def test_prints_what_differs_from_the_defaults(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / COHORT_SETTINGS_NAME).write_text("[consensus]\nmin_suvmax = 3.5\n")
        assert main(["settings", "--cohort", str(tmp_path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.strip("| ").split()[0] for line in lines[2:]] == ["consensus.min_suvmax"]
        assert "3.5" in lines[2]
        assert "2.5" in lines[2]

    def test_a_wrong_one_is_exit_code_one(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / COHORT_SETTINGS_NAME).write_text("[consensus]\nmin_suvmax = -1\n")
        assert main(["settings", "--cohort", str(tmp_path)]) == 1
        assert "min_suvmax" in capsys.readouterr().err


class TestHome:
    def test_a_file_in_its_place_is_exit_code_one_and_a_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "reports.csv").write_text("exam_id,patient_id,findings\n")
        home = tmp_path / "reports.csv"
        assert main(["curate", "--cohort", str(tmp_path), "--home", str(home)]) == 1
        assert "expected a folder to write to" in capsys.readouterr().err


class TestServing:
    def test_missing_file_or_checkpoint_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pet = str(tmp_path / "nowhere.nii")
        assert main(["describe", "--checkpoint", "none", "--pet", pet, "--mask", pet]) == 1
        assert "nowhere.nii" in capsys.readouterr().err
        assert main(["serve", "--checkpoint", str(tmp_path / "none"), "--port", "0"]) == 1
        assert "hub id" in capsys.readouterr().err


class TestVllm:
    def test_status_of_no_server_is_exit_code_one(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["vllm", "status", "--port", "1", "--venv", str(tmp_path)]) == 1
        assert "not healthy" in capsys.readouterr().out

    def test_failure_is_a_message_and_exit_code_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(plan: vllm_server.ServerPlan) -> None:
            raise vllm_server.ServerError("no disk")

        monkeypatch.setattr(vllm_server, "ensure_environment", fail)
        assert main(["vllm", "start", "--no-gpu", "--port", "1", "--venv", str(tmp_path / "v")]) == 1
        assert "no disk" in capsys.readouterr().err


class TestMake:
    """The targets of the Makefile over a `petar` that prints how it was called."""

    @pytest.fixture
    def venv(self, tmp_path: Path) -> Path:
        program = tmp_path / "venv" / "bin" / "petar"
        program.parent.mkdir(parents=True)
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            "print(json.dumps([sys.argv[1:], os.environ['PETAR_COHORT'], os.environ['PETAR_HOME']]))\n"
            "sys.exit(1 if 'nowhere' in os.environ['PETAR_COHORT'] else 0)\n"
        )
        program.chmod(0o755)
        (tmp_path / "venv" / ".ready").touch()
        return tmp_path / "venv"

    @pytest.mark.parametrize(
        ("call", "arguments"),
        [
            (["curate", "ARGS=--strict"], ["curate", "--strict"]),
            (["query"], ["query"]),
            (["query", "NAME=funnel", "VERSION=first one"], ["query", "funnel", "--version", "first one"]),
            (["accept", "NAME=1", "WHO=Dr O'Hara"], ["accept", "1", "--who", "Dr O'Hara", "--note", ""]),
            (
                ["rerun", "ASSET=lesions", "EXAM=E 1", "SET=contour.background_part = 0.5"],
                ["rerun", "lesions", "--exam", "E 1", "--set", "contour.background_part = 0.5"],
            ),
            (["export"], ["export"]),
        ],
    )
    def test_hands_paths_with_spaces_and_options_on(self, venv: Path, call: list[str], arguments: list[str]) -> None:
        where = ["COHORT=/x/my cohort", "HOME_DIR=/x/my home"]
        command = ["make", "--no-print-directory", "-s", f"VENV={venv}", *call, *where]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == [arguments, "/x/my cohort", "/x/my home"]

    def test_fails_where_the_command_fails(self, venv: Path) -> None:
        command = ["make", f"VENV={venv}", "curate", "COHORT=nowhere"]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode != 0


class TestMakeClean:
    def clean(self, folder: Path) -> int:
        command = ["make", "-s", "-f", str(ROOT / "Makefile"), "clean"]
        return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode

    def home(self, folder: Path, cohort: str) -> Path:
        (folder / cohort).mkdir(parents=True)
        (folder / cohort / "reports.csv").write_text("exam_id,patient_id,findings\nE0,P0,Text.\n")
        observe_cohort(folder / cohort, folder / "data" / "manifest")
        return folder / "data"

    def test_removes_the_demos_home(self, tmp_path: Path) -> None:
        home = self.home(tmp_path, "data/phantom")
        assert self.clean(tmp_path) == 0
        assert not home.exists()

    @pytest.mark.parametrize("cohort", ["cohort", "data/cohort", "data"])
    def test_never_removes_another_home(self, tmp_path: Path, cohort: str) -> None:
        home = self.home(tmp_path, cohort)
        assert self.clean(tmp_path) != 0
        assert (home / "manifest" / "cohort.json").exists()

    def test_never_removes_a_cohort_in_the_demos_home(self, tmp_path: Path) -> None:
        home = self.home(tmp_path, "data/phantom")
        (home / "mine" / "exams").mkdir(parents=True)
        assert self.clean(tmp_path) != 0
        assert (home / "mine").exists()


@pytest.mark.slow
class TestTheWholeLineage:
    """One home, taken through a first pass, an unchanged second one, and one exam more."""

    @pytest.fixture(scope="class")
    @classmethod
    def cohort(cls, small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("run") / "cohort"
        shutil.copytree(small_cohort, folder)
        (folder / COHORT_SETTINGS_NAME).write_text(SETTINGS)
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def home(cls, cohort: Path) -> Path:
        home = cohort.parent / "home"
        code, output, errors = call("train", cohort, home)
        assert code == 0, output + errors
        return home

    def test_ends_with_scores_beside_the_published_ones(self, home: Path) -> None:
        with connect(Home(home)) as con:
            statuses = dict(con.sql("select status, count(*) from scores group by 1").fetchall())
        assert statuses["computed"] > 0
        assert statuses["published"] == 40

    def test_trains_every_stage_on_what_came_before(self, home: Path) -> None:
        contract = json.loads((home / "checkpoints" / TRAINING_STAGES[-1] / "checkpoint" / "model.json").read_text())
        assert [record["stage"] for record in contract["lineage"]] == list(TRAINING_STAGES)

    def test_describes_held_out_lesions_of_patients_that_were_not_trained_on(self, home: Path) -> None:
        with connect(Home(home)) as con:
            shared = con.sql(
                "select count(*) from predictions p join samples s using (patient_id) where s.split = 'train'"
            ).fetchall()[0][0]
            texts = con.sql("select count(*) from predictions where text is not null").fetchall()[0][0]
        assert shared == 0
        assert texts > 0

    def test_keeps_faulty_exams_as_rows_with_their_reason(self, home: Path) -> None:
        with connect(Home(home)) as con:
            rows = con.sql("select problem, message from exams where status = 'problem'").fetchall()
        assert len({problem for problem, _ in rows}) >= 3
        assert all("expected" in message or "exam" in message for _, message in rows)

    def test_recomputes_nothing_when_nothing_changed(self, cohort: Path, home: Path) -> None:
        code, output, _ = call("train", cohort, home)
        assert code == 0
        assert "nothing to recompute" in output

    def test_computes_one_exam_when_one_came(self, cohort: Path, home: Path) -> None:
        with connect(Home(home)) as con:
            before = con.sql("select exam_id, row_key from exams").pl()
        exam_id = add_exam(cohort)
        code, output, _ = call("curate", cohort, home)
        assert code == 0
        assert "exams 1 recomputed" in output
        with connect(Home(home)) as con:
            after = con.sql("select exam_id, row_key from exams").pl()
        assert after.join(before, on=["exam_id", "row_key"], how="anti")["exam_id"].to_list() == [exam_id]

    def test_says_what_a_removed_exam_took_along(self, cohort: Path, home: Path) -> None:
        reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
        exam_id = reports["exam_id"][0]
        reports.filter(pl.col("exam_id") != exam_id).write_csv(cohort / "reports.csv")
        shutil.rmtree(cohort / "exams" / exam_id)
        _, output, _ = call("curate", cohort, home)
        assert "1 removed" in output
        with connect(Home(home)) as con:
            assert con.sql(f"select count(*) from lesions where exam_id = '{exam_id}'").fetchall() == [(0,)]
