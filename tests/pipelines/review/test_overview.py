"""The page that shows the state of a cohort."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from pipelines.catalog.build import build_catalog
from pipelines.review.overview import html_page, markdown_page, overview_of, write_overview
from pipelines.review.quality_check_result import CheckResult
from pipelines.review.quality_checks import run_checks
from pipelines.tables.home import Home
from tests.support.curations import curate_small, write_exam_with_mask


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One exam with a given mask and its sentence, and one whose folder is empty."""
    folder = tmp_path_factory.mktemp("overview")
    write_exam_with_mask(folder / "cohort")
    (folder / "cohort" / "exams" / "E2").mkdir()
    (folder / "cohort" / "reports.csv").write_text("exam_id,patient_id,findings\nE1,P1,None.\nE2,P2,None.\n")
    (folder / "cohort" / "given_masks.csv").write_text(
        'exam_id,mask,text\nE1,SEG.nii.gz,"Liver lesion <b>x</b>, SUVmax 9.0."\n'
    )
    made = Home(folder / "home")
    curate_small(made, folder / "cohort")
    build_catalog(made)
    return made


def test_counts_what_the_tables_hold(home: Home) -> None:
    numbers = dict(overview_of(home, run_checks(home)).numbers)
    assert (numbers["exams"], numbers["with images"], numbers["lesions"]) == (2, 1, 1)


def test_names_an_exam_with_a_problem_and_what_to_do(home: Home) -> None:
    page = markdown_page(overview_of(home, run_checks(home)))
    (message,) = overview_of(home, run_checks(home)).problems.filter(pl.col("exam_id") == "E2")["message"]
    assert "Exam E2: " in page
    assert message in page


def test_many_problems_are_counted_beyond_the_first(home: Home) -> None:
    found = overview_of(home, run_checks(home))
    row = found.problems.filter(pl.col("exam_id") == "E2")
    many = replace(found, problems=pl.concat([row] * 25))
    assert "15 further exams" in markdown_page(many)


def test_failed_check_says_where_to_act(home: Home) -> None:
    wrong = CheckResult("overlaps", False, "error", 2, 9, pl.DataFrame(), "Masks that share voxels")
    page = markdown_page(replace(overview_of(home, run_checks(home)), failed_checks=(wrong,)))
    assert "Check overlaps: Masks that share voxels, 2 of 9 wrong; " in page


def test_texts_are_escaped(home: Home) -> None:
    page = html_page(overview_of(home, run_checks(home)))
    assert "Liver lesion &lt;b&gt;x&lt;/b&gt;" in page


def test_page_needs_nothing_from_elsewhere(home: Home) -> None:
    write_overview(home, run_checks(home), ["- tiny against template: ahead in organ."])
    page = home.overview.read_text()
    assert "tiny against template: ahead in organ." in page
    assert "http" not in page


def test_links_only_what_is_there(home: Home) -> None:
    before = overview_of(home, run_checks(home))
    (home.root / "scoreboard.md").write_text("# Scoreboard\n")
    after = overview_of(home, run_checks(home))
    assert set(after.links) - set(before.links) == {("Scoreboard: every metric with its interval", "scoreboard.md")}
    assert after.version != before.version


def test_home_without_lesions_has_a_page(tmp_path: Path) -> None:
    empty = Home(tmp_path / "home")
    (tmp_path / "cohort" / "exams").mkdir(parents=True)
    (tmp_path / "cohort" / "reports.csv").write_text("exam_id,patient_id,findings\nE1,P1,None.\n")
    curate_small(empty, tmp_path / "cohort")
    build_catalog(empty)
    assert dict(write_overview(empty, run_checks(empty)).numbers)["lesions"] == 0
