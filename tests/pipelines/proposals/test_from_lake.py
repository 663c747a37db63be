"""An exam without a report on its way to a draft report: candidates, proposals, answers, what the draft takes."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.inputs.sample_table import build_samples
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import PROPOSED, open_curation, run_stage, stale_shards
from pipelines.exports.report_files import ReportTables
from pipelines.proposals.calibration import LogisticCalibration
from pipelines.proposals.from_lake import LIST_NAME, ProposalSummary, update_proposals
from pipelines.settings import ProjectSettings, SampleSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import N_SHARDS
from tests.pipelines.curation.test_hard_exams import LEFT, RIGHT, body
from tests.pipelines.curation.test_location_inputs import TEXT, curate, write
from tests.support.curations import curate_small

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
    home.reviews.mkdir(parents=True, exist_ok=True)
    (home.reviews / "a.csv").write_text("\n".join(["finding_id,reviewer,answer,value,answered_at", *lines]) + "\n")


def change(home: Home, table: str, **columns: pl.Expr) -> None:
    lake = Lake(home.lake)
    for shard in range(N_SHARDS):
        if lake.has_shard(table, shard):
            lake.write_shard(table, shard, lake.read_shard(table, shard).with_columns(**columns), {})


@dataclass(frozen=True)
class Always:
    """A model that gives one probability."""

    p: float

    def probability(self, features: np.ndarray) -> np.ndarray:
        return np.full(len(features), self.p)


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
    answer(home, f"{hottest},Dr A,lesion,left lung,", f"{hottest},Dr B,unsure,,", "E2:1-1-1,Dr A,lesion,,")
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
    answer(home, f"{name},Dr A,lesion,,", f"{name},Dr B,physiologic,,")
    assert not updated(home).frame["is_accepted"].any()
    answer(home, f"{name},Dr A,physiologic,heart,")
    after = updated(home)
    assert after.model != before.model
    row = after.frame.filter(pl.col("candidate_id") == name).row(0, named=True)
    assert (row["answer"], row["organ"], row["listed"], row["is_accepted"]) == ("physiologic", "heart", None, False)


def test_lesion_that_is_marked_as_missed_is_curated_and_an_answer(curated: Path, home: Home) -> None:
    row = Lake(home.lake).read_table("candidates").filter(exam_id="E2").sort("suvmax").row(-1, named=True)
    updated(home)
    place = f"{row['peak_x_mm'] + 3:.1f} {row['peak_y_mm']:.1f} {row['peak_z_mm']:.1f}"
    answer(home, f"E2:at_1,Dr A,missed lesion,{place},2026-01-31T12:00:00Z")
    curate_small(home, curated / "cohort")
    done = updated(home)
    assert done.frame.filter(answer="missed lesion")["candidate_id"].to_list() == [row["candidate_id"]]
    assert done.problems == []
    (lesion,) = ReportTables.of(home).report("E2").lesions
    assert lesion.suvmax == pytest.approx(9.0, abs=0.1)


@pytest.mark.parametrize(("p", "has_map", "is_taken"), [(0.96, True, True), (0.94, True, False), (0.96, False, False)])
def test_unreviewed_proposal_is_taken_where_calibrated_and_mapped(
    home: Home, monkeypatch: pytest.MonkeyPatch, p: float, has_map: bool, is_taken: bool
) -> None:
    change(home, "candidates", has_organ_map=pl.lit(has_map))
    change(home, "exams", scanner=pl.lit("a scanner"))
    answer(
        home, f"{Lake(home.lake).read_table('candidates').filter(exam_id='E1')['candidate_id'][0]},Dr A,physiologic,,"
    )
    monkeypatch.setattr(
        "pipelines.proposals.from_lake.train", lambda examples: Always(p * SETTINGS.proposals.mentioned)
    )
    monkeypatch.setattr("pipelines.proposals.from_lake.calibrated", lambda *answered: LogisticCalibration(0.0, 1.0))
    done = updated(home)
    assert done.frame["is_accepted"].any() == is_taken
    draft = ReportTables.of(home).report("E2")
    assert bool(draft.lesions) == is_taken
    assert f"taken at a calibrated probability without review: {len(draft.lesions)}" in draft.text_source


def test_petar_trains_on_what_a_reviewer_accepted_and_is_evaluated_on_none(home: Home) -> None:
    name = updated(home).frame.sort("suvmax")["candidate_id"][-1]
    assert "proposal" not in build_samples(home, {}, SampleSettings()).frame["kind"].to_list()
    answer(home, f"{name},Dr A,lesion,left lung,")
    updated(home)
    made = build_samples(home, {}, SampleSettings(val=0.0, test=0.0)).frame.filter(kind="proposal")
    assert made.select("sample_id", "split", "organ", "finding_id").rows() == [(name, "train", "lung", None)]
    assert "SUVmax: 9.0" in made["target"][0]
    held_out = build_samples(home, {}, SampleSettings(val=0.0, test=0.999999)).frame
    assert held_out.filter(kind="proposal").is_empty()
