"""An exam without a report on its way to a draft report: candidates, proposals, answers, what the draft takes."""

import logging
import shutil
from pathlib import Path

import polars as pl
import pytest

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import PROPOSED, open_curation, run_stage, stale_shards
from pipelines.exports.report_files import ReportTables
from pipelines.proposals.from_lake import LIST_NAME, ProposalSummary, update_proposals
from pipelines.settings import ProjectSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.pipelines.curation.test_hard_exams import LEFT, RIGHT, body
from tests.pipelines.curation.test_location_inputs import TEXT, curate, write

SETTINGS = ProjectSettings.model_validate({"proposals": {"inserted": 0, "phantom_exams": 0}})


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """E1 with a report, E2 without."""
    folder = tmp_path_factory.mktemp("curated")
    write(folder / "cohort", {"E1": (body([(RIGHT, 8.0)]), TEXT), "E2": (body([(RIGHT, 6.0), (LEFT, 9.0)]), TEXT)})
    lines = (folder / "cohort" / "reports.csv").read_text().splitlines()
    (folder / "cohort" / "reports.csv").write_text("\n".join(line for line in lines if "E2," not in line) + "\n")
    home = Home(folder / "home")
    observe_cohort(folder / "cohort", home.manifest)
    curate(folder / "cohort", home)
    curation = open_curation(home)
    for shard in stale_shards(curation, PROPOSED):
        run_stage(curation, "candidates", shard)
    return folder


@pytest.fixture
def home(curated: Path, tmp_path: Path) -> Home:
    shutil.copytree(curated / "home", tmp_path / "home")
    return Home(tmp_path / "home")


def updated(home: Home, settings: ProjectSettings = SETTINGS) -> ProposalSummary:
    return update_proposals(home, settings, logging.getLogger("test"))


def answer(home: Home, *lines: str) -> None:
    (home.reviews / "proposals").mkdir(parents=True, exist_ok=True)
    header = "candidate_id,reviewer,answer,organ,exam_id,x_mm,y_mm,z_mm"
    (home.reviews / "proposals" / "a.csv").write_text("\n".join([header, *lines]) + "\n")


def test_only_the_exam_without_a_report_has_proposals_and_they_are_listed(home: Home) -> None:
    done = updated(home)
    assert set(done.frame["exam_id"]) == {"E2"}
    assert done.frame["listed"].count() <= SETTINGS.proposals.most_an_exam
    assert done.frame["listed"].count() >= 1
    assert not done.frame["is_accepted"].any()
    assert set(done.frame["calibration"]) == {"not calibrated"}
    text = (home.root / "proposals" / LIST_NAME).read_text()
    assert len(text.splitlines()) == 1 + done.frame["listed"].count()
    assert all((home.root / path).is_file() for path in done.frame["mask_path"].drop_nulls())
    assert Lake(home.lake).read_table("lesions").filter(pl.col("exam_id") == "E2").is_empty()
    again = updated(home)
    assert again.written.rows_digest == done.written.rows_digest


def test_draft_report_takes_what_a_reviewer_confirmed(home: Home) -> None:
    hottest = updated(home).frame.sort("suvmax")["candidate_id"][-1]
    draft = ReportTables.of(home).report("E2")
    assert draft.lesions == ()
    assert "Confirmed by a reviewer: 0" in draft.text_source
    answer(home, f"{hottest},Dr A,lesion,left lung,,,,", f"{hottest},Dr B,unsure,,,,,", "E2:1-1-1,Dr A,lesion,,,,,")
    done = updated(home)
    assert done.frame.filter("is_accepted")["candidate_id"].to_list() == [hottest]
    assert any("E2:1-1-1" in problem for problem in done.problems)
    draft = ReportTables.of(home).report("E2")
    (lesion,) = draft.lesions
    assert (lesion.organ, lesion.laterality, lesion.region) == ("lung", "left", "chest")
    assert lesion.suvmax == pytest.approx(9.0, abs=0.1)
    assert "Confirmed by a reviewer: 1" in draft.text_source
    assert draft.burden.n_lesions == 1


def test_answers_make_the_model_stale_and_disagreement_accepts_nothing(home: Home) -> None:
    before = updated(home)
    name = before.frame["candidate_id"][0]
    answer(home, f"{name},Dr A,lesion,,,,,", f"{name},Dr B,physiologic,,,,,")
    assert not updated(home).frame["is_accepted"].any()
    answer(home, f"{name},Dr A,physiologic,heart,,,,")
    after = updated(home)
    assert after.model != before.model
    row = after.frame.filter(pl.col("candidate_id") == name).row(0, named=True)
    assert (row["answer"], row["organ"], row["listed"], row["is_accepted"]) == ("physiologic", "heart", None, False)


def test_missed_lesion_is_marked_by_its_place(home: Home) -> None:
    row = Lake(home.lake).read_table("candidates").filter(exam_id="E2").sort("suvmax").row(-1, named=True)
    place = f"{row['peak_x_mm'] + 3},{row['peak_y_mm']},{row['peak_z_mm']}"
    answer(home, f",Dr A,missing here,,E2,{place}", ",Dr A,missing here,,E2,900,900,900")
    done = updated(home)
    assert done.frame.filter("is_accepted")["candidate_id"].to_list() == [row["candidate_id"]]
    assert len(done.problems) == 1
