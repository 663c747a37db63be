"""Corrections by a click through a curation: applied, taken back, superseded; what is gone is kept and reported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.ndimage import gaussian_filter

from pipelines.cohort.corrections import COLUMNS
from pipelines.imaging.masks import load_mask, place_mask
from pipelines.imaging.volume import Volume, load_nifti, save_nifti
from pipelines.review.quality_checks import run_checks
from pipelines.review.reviews import COLUMNS as REVIEW_COLUMNS
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.support.curations import curate_small

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
REPORT = "CHEST: Hypermetabolic mass in the left lung with SUV max of 9.0 (slice 21)."
MASS, PART, MISSED = "40.0 80.0 76.0", "40.0 80.0 128.0", "112.0 80.0 40.0"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """One exam: a mass that is reported, a part of it that lies apart, and a lesion that the report has not."""
    array = np.full((40, 40, 40), 0.01, np.float32)
    array[4:36, 4:36] = 1.0
    for at, suv in ((MASS, 9.0), (PART, 7.0), (MISSED, 6.0)):
        centre = [float(v) / 4 for v in at.split()]
        off = np.linalg.norm(np.moveaxis(np.indices(array.shape), 0, -1) - centre, axis=-1)
        array = np.where(off < 4, suv, array)
    array = gaussian_filter(array, 0.8).astype(np.float32)
    for at, suv in ((MASS, 9.0), (PART, 7.0), (MISSED, 6.0)):
        array[tuple(round(float(v) / 4) for v in at.split())] = suv
    folder = tmp_path / "cohort" / "exams" / "E1"
    folder.mkdir(parents=True)
    save_nifti(Volume(array, AFFINE), folder / "SUV.nii.gz")
    (tmp_path / "cohort" / "reports.csv").write_text(f"exam_id,patient_id,findings\nE1,P1,{REPORT}\n")
    return tmp_path / "cohort"


def curate(cohort: Path, reviews: Sequence[dict[str, str]] = (), lines: Sequence[tuple[str, ...]] = ()) -> Lake:
    """The lake after a curation with these lines of a saved file of answers, and of corrections.csv."""
    home = Home(cohort.parent / "home")
    home.reviews.mkdir(parents=True, exist_ok=True)
    rows = [",".join(REVIEW_COLUMNS), *(",".join(row.get(c, "") for c in REVIEW_COLUMNS) for row in reviews)]
    (home.reviews / "AB.csv").write_text("\n".join(rows) + "\n")
    (cohort / "corrections.csv").write_text("\n".join(map(",".join, [COLUMNS, *lines])) + "\n")
    return curate_small(home, cohort)


def said(finding: str, answer: str, value: str = "", at: str = "2026-01-02T10:00:00.000Z") -> dict[str, str]:
    return {"finding_id": finding, "reviewer": "AB", "answer": answer, "value": value, "answered_at": at}


def lesions(lake: Lake) -> dict[str, dict[str, Any]]:
    return {row["finding_id"]: row for row in lake.read_table("lesions").to_dicts()}


def status(lake: Lake) -> list[tuple[str, str]]:
    return sorted(lake.read_table("corrections").select("field", "status").rows())


def mask(cohort: Path, row: dict[str, Any]) -> np.ndarray:
    home = cohort.parent / "home"
    return place_mask(load_mask(home / row["mask_path"]), load_nifti(home / "volumes" / "E1" / "SUV.nii"))


@pytest.fixture
def mass(cohort: Path) -> tuple[str, dict[str, Any]]:
    ((finding_id, row),) = lesions(curate(cohort)).items()
    assert row["outcome"] == "lesion"
    return finding_id, row


def test_a_contour_is_corrected_by_a_click_and_stays_so_when_nothing_changes(cohort, mass):
    finding_id, before = mass
    made = lesions(curate(cohort, [said(finding_id, "join", PART)]))[finding_id]
    assert made["mtv_ml"] > 1.5 * before["mtv_ml"]
    assert made["mask_source"] == "edited"
    assert mask(cohort, made)[10, 20, 32]
    again = lesions(curate(cohort, [said(finding_id, "join", PART)]))[finding_id]
    assert again == made
    checks = {c.name: c for c in run_checks(Home(cohort.parent / "home"))}
    assert checks["masks"].passed


def test_a_join_that_is_taken_back_leaves_the_lesion_as_it_was(cohort, mass):
    finding_id, before = mass
    lake = curate(cohort, [said(finding_id, "join", PART), said(finding_id, "join", at="2026-01-03T10:00:00.000Z")])
    assert lesions(lake)[finding_id]["mtv_ml"] == before["mtv_ml"]
    assert status(lake) == [("join", "applied"), ("join", "superseded")]


def test_a_missed_lesion_has_its_row_and_is_disjoint(cohort, mass):
    finding_id, _ = mass
    marked = f"E1:at_{MISSED.replace(' ', '_')}"
    lake = curate(cohort, [said(marked, "missed lesion", MISSED)], [(marked, "organ", "liver", "Dr A", "2026-01-04")])
    found = lesions(lake)
    row = found[marked]
    assert (row["outcome"], row["evidence"], row["mask_source"]) == ("lesion", "review", "marked")
    assert row["suvmax"] == pytest.approx(6.0, abs=0.05)
    assert not (mask(cohort, row) & mask(cohort, found[finding_id])).any()
    finding = lake.read_table("findings").filter(finding_id=marked).to_dicts()[0]
    assert (finding["organ"], finding["outcome"], finding["text_source"]) == ("liver", "accepted", "composed")
    assert set(status(lake)) == {("added", "applied"), ("organ", "applied")}


def test_physiologic_is_set_and_a_later_answer_takes_it_back(cohort, mass):
    finding_id, _ = mass
    lake = curate(cohort, [said(finding_id, "physiologic")])
    assert lake.read_table("findings").filter(finding_id=finding_id)["is_physiologic"].to_list() == [True]
    later = [said(finding_id, "physiologic"), said(finding_id, "accept", at="2026-01-05T10:00:00.000Z")]
    lake = curate(cohort, later)
    assert lake.read_table("findings").filter(finding_id=finding_id)["is_physiologic"].to_list() == [False]


class TestWhatIsGone:
    def test_a_finding_that_left_keeps_its_line_and_says_so(self, cohort, mass):
        assert status(curate(cohort, [said("E1:00000000", "join", PART)])) == [("join", "unknown finding")]

    def test_a_candidate_that_is_not_there_is_reported(self, cohort, mass):
        finding_id, _ = mass
        row = lesions(curate(cohort, [said(finding_id, "candidate", "7")]))[finding_id]
        assert row["outcome"] == "ambiguous"
        assert "candidate 7" in row["correction_problem"]

    def test_a_join_outside_the_image_is_reported_and_not_applied(self, cohort, mass):
        finding_id, before = mass
        row = lesions(curate(cohort, [said(finding_id, "join", "0 0 4000")]))[finding_id]
        assert "outside the image" in row["correction_problem"]
        assert (row["mtv_ml"], row["mask_source"]) == (before["mtv_ml"], "grown")

    def test_a_line_that_is_no_place_is_not_applied(self, cohort, mass):
        finding_id, before = mass
        lake = curate(cohort, [said(finding_id, "cut", "here")])
        assert lake.read_table("corrections")["message"].str.contains("x y z").to_list() == [True]
        assert lesions(lake)[finding_id]["mtv_ml"] == before["mtv_ml"]


def test_the_later_of_file_and_page_counts(cohort, mass):
    finding_id, _ = mass
    page = said(finding_id, "physiologic", at="2026-01-02T10:00:00.000Z")
    lake = curate(cohort, [page], [(finding_id, "physiologic", "no", "Dr A", "2026-01-03")])
    assert lake.read_table("findings").filter(pl.col("is_physiologic")).is_empty()
    assert status(lake) == [("physiologic", "applied"), ("physiologic", "superseded")]
