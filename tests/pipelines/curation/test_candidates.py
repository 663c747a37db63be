"""The stage of candidates: exams with a report and without, what is reused, what makes a row stale."""

import shutil
from pathlib import Path

import pytest

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import PROPOSED, open_curation, run_stage, stale_shards
from pipelines.settings import CandidateSettings, CurationSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.pipelines.curation.test_hard_exams import LEFT, RIGHT, body
from tests.pipelines.curation.test_location_inputs import TEXT, curate, write


def found(home: Home, settings: CurationSettings = CurationSettings()) -> int:
    """Brings the candidates of a home up to date; how many exams that took."""
    curation = open_curation(home, settings)
    return sum(run_stage(curation, "candidates", n).counts.recomputed for n in stale_shards(curation, PROPOSED))


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A curated exam with a report, and one without: a cohort and its home."""
    folder = tmp_path_factory.mktemp("curated")
    cohort = folder / "cohort"
    write(cohort, {"E1": (body([(RIGHT, 8.0)]), TEXT), "E2": (body([(RIGHT, 6.0), (LEFT, 9.0)]), TEXT)})
    lines = (cohort / "reports.csv").read_text().splitlines()
    (cohort / "reports.csv").write_text("\n".join(line for line in lines if not line.startswith("E2")) + "\n")
    curate(cohort, Home(folder / "home"))
    return folder


@pytest.fixture
def home(curated: Path, tmp_path: Path) -> Home:
    """A copy of that home, beside a copy of its cohort."""
    shutil.copytree(curated, tmp_path, dirs_exist_ok=True)
    return Home(tmp_path / "home")


def test_exam_without_a_report_has_a_volume_and_candidates(home: Home) -> None:
    exams = {row["exam_id"]: row for row in Lake(home.lake).read_table("exams").iter_rows(named=True)}
    assert (exams["E2"]["status"], exams["E2"]["problem"]) == ("ok", "no report")
    assert "expected a row of reports for exam E2" in exams["E2"]["message"]
    assert exams["E1"]["problem"] is None
    assert found(home) == 2
    rows = Lake(home.lake).read_table("candidates").sort("exam_id", "suvmax", descending=[False, True])
    hottest = {row["exam_id"]: row for row in rows.unique("exam_id", keep="first").iter_rows(named=True)}
    assert {exam: round(row["suvmax"]) for exam, row in hottest.items()} == {"E1": 8, "E2": 9}
    assert hottest["E2"]["side"] == "left"
    assert hottest["E2"]["candidate_id"] == "E2:{peak_i}-{peak_j}-{peak_k}".format(**hottest["E2"])
    assert not hottest["E2"]["has_organ_map"]
    assert hottest["E2"]["ct_mean"] is None


def test_nothing_changed_is_reused_and_a_setting_is_not(home: Home) -> None:
    assert found(home) == 2
    assert found(home) == 0
    assert found(home, CurationSettings(candidates=CandidateSettings(least_suv=7.0))) == 2
    assert Lake(home.lake).read_table("candidates")["suvmax"].min() >= 7.0


def test_exam_that_left_has_none(home: Home, tmp_path: Path) -> None:
    found(home)
    for path in (tmp_path / "cohort" / "exams" / "E2").iterdir():
        path.unlink()
    (tmp_path / "cohort" / "exams" / "E2").rmdir()
    observe_cohort(tmp_path / "cohort", home.manifest)
    curate(tmp_path / "cohort", home)
    found(home)
    assert set(Lake(home.lake).read_table("candidates")["exam_id"]) == {"E1"}
