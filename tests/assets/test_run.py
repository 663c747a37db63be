"""The command line, end to end on a small phantom, as make calls it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from assets.resources import COHORT_SETTINGS_NAME
from model.petar.config import TRAINING_STAGES
from pipelines.catalog.build import connect
from pipelines.phantom import add_exam
from pipelines.tables.home import Home

ROOT = Path(__file__).parents[2]

SETTINGS = """
[samples]
val = 0.3
test = 0.3
anatomy_per_exam = 4
[model]
epochs = 1
effort = 0.05
"""


def call(command: str, cohort: Path, home: Path) -> tuple[int, str, str]:
    """(exit code, output, errors) of a call of the command line."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "assets.run", command, "--cohort", str(cohort), "--home", str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


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


@pytest.mark.slow
class TestTheWholeLineage:
    """One home, taken through a first pass, an unchanged second one, and one exam more."""

    @pytest.fixture(scope="class")
    def cohort(self, small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("run") / "cohort"
        shutil.copytree(small_cohort, folder)
        (folder / COHORT_SETTINGS_NAME).write_text(SETTINGS)
        return folder

    @pytest.fixture(scope="class")
    def home(self, cohort: Path) -> Path:
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
