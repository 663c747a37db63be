"""An hour of a physician in the pages: twenty lesions judged by keys, a contour corrected by a click, a missed lesion
marked; what the browser saves goes through the next curation.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.ndimage import gaussian_filter

from pipelines.curation.run import PROPOSED, open_curation, run_stage, stale_shards
from pipelines.exports.report_files import ReportTables
from pipelines.exports.report_pages import html_page
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.proposals.from_lake import update_proposals
from pipelines.review.gallery import GallerySettings, GalleryTables, write_gallery
from pipelines.review.reviews import reviewed
from pipelines.settings import ProjectSettings
from pipelines.tables.curation_version import curation_version
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.support.curations import curate_small

pytest.importorskip("selenium", reason="needs selenium")
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser

SIDE_MM = 4.0
UNREPORTED = "E4"
SETTINGS = ProjectSettings.model_validate({"proposals": {"inserted": 0, "phantom_exams": 0}})
N_EXAMS, N_LESIONS = 4, 5
MISSED = (112.0, 40.0, 132.0)
"""A lesion of the first exam that its report does not name (RAS mm)."""
PART = (24.0, 116.0, 132.0)
"""And a focus of it that belongs to its first lesion."""


def write_cohort(cohort: Path) -> None:
    reports = ["exam_id,patient_id,findings"]
    for e in range(N_EXAMS + 1):
        array = np.full((36, 36, 44), 0.01, np.float32)
        array[2:34, 2:34] = 1.0
        places = [((24.0, 40.0 + 20 * (n % 2), 20.0 + 26 * n), 6.0 + n + e / 10) for n in range(N_LESIONS)]
        extra = [(MISSED, 5.0), (PART, 5.5)] if e == 0 else []
        grid = np.moveaxis(np.indices(array.shape), 0, -1) * SIDE_MM
        for at, suv in places + extra:
            array = np.where(np.linalg.norm(grid - at, axis=-1) < 10, suv, array)
        array = gaussian_filter(array, 0.7)
        for at, suv in places + extra:
            array[tuple(round(v / SIDE_MM) for v in at)] = suv
        folder = cohort / "exams" / f"E{e}"
        folder.mkdir(parents=True)
        save_nifti(Volume(array.astype(np.float32), np.diag([SIDE_MM] * 3 + [1.0])), folder / "SUV.nii.gz")
        said = [
            f"Nodule in the left lung with SUV max of {suv:.1f} (slice {44 - round(at[2] / 4)})." for at, suv in places
        ]
        if e < N_EXAMS:
            reports.append(f'E{e},P{e},"CHEST: {" ".join(said)}"')
    (cohort / "reports.csv").write_text("\n".join(reports) + "\n")


def pages(home: Home, lake: Lake) -> Path:
    names = ("lesions", "findings", "readings", "exams")
    tables = GalleryTables(*(lake.read_table(name) for name in names), proposals=lake.read_table("proposals"))
    return write_gallery(home.gallery, tables, GallerySettings(home, curation_version(home))).index


def proposed(home: Home, cohort: Path) -> Lake:
    """A home with the proposals of the exam that no report names."""
    lake = curate_small(home, cohort)
    curation = open_curation(home)
    for shard in stale_shards(curation, PROPOSED):
        run_stage(curation, "candidates", shard)
    update_proposals(home, SETTINGS, logging.getLogger("test"))
    return lake


def test_what_a_physician_says_of_proposals_is_in_the_draft_report(browser: Any, tmp_path: Path) -> None:
    home, cohort = Home(tmp_path / "home"), tmp_path / "cohort"
    write_cohort(cohort)
    lake = proposed(home, cohort)
    before = lake.read_table("proposals").sort("place")
    first, second, third = before["candidate_id"].to_list()[:3]
    pages(home, lake)
    browser.get((home.gallery / "exams" / UNREPORTED / "index.html").as_uri() + f"#{first}")
    browser.execute_script("localStorage.clear()")
    browser.refresh()

    def shown() -> str:
        ready = "return document.documentElement.dataset.ready === 'yes' && state.selected"
        return browser.wait_for(lambda: browser.execute_script(ready), "the viewer")

    assert shown() == first
    browser.press("a")
    browser.switch_to.active_element.send_keys("Dr. AB", Keys.ENTER)
    for key, name in (("p", second), ("o", third)):
        browser.wait_for(lambda name=name: shown() == name, "the next proposal")
        browser.press(key)
    browser.execute_script("go(arguments[0])", second)
    organ = browser.wait_for(lambda: browser.find_elements("id", "organ"), "the field of the organ")[0]
    organ.send_keys("left heart", Keys.ESCAPE)
    browser.press("t", "l")  # Of findings alone: nothing is answered.
    assert browser.execute_script("return correctionsOf(arguments[0]).length", second) == 0
    home.reviews.mkdir()
    browser.saved().rename(home.reviews / "AB.csv")

    lake = proposed(home, cohort)
    after = lake.read_table("proposals").drop_nulls("answer")
    said = {first: "lesion", second: "physiologic", third: "part of another"}
    assert dict(after.select("candidate_id", "answer").rows()) == said
    assert after.filter(candidate_id=second)["organ"].to_list() == ["left heart"]
    assert after.filter("is_accepted")["candidate_id"].to_list() == [first]
    assert len(ReportTables.of(home).report(UNREPORTED).lesions) == 1
    read, summary = reviewed(home)
    assert read.problems == ()
    assert summary.location.n == 0


def test_what_a_physician_says_is_in_the_next_curation(browser: Any, tmp_path: Path) -> None:
    home, cohort = Home(tmp_path / "home"), tmp_path / "cohort"
    write_cohort(cohort)
    lake = curate_small(home, cohort)
    before = {r["finding_id"]: r for r in lake.read_table("lesions").filter(outcome="lesion").to_dicts()}
    assert len(before) == N_EXAMS * N_LESIONS
    browser.get(pages(home, lake).as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()

    def shown() -> str:
        is_ready = "return document.documentElement.dataset.ready === 'yes' && typeof EXAM !== 'undefined'"
        browser.wait_for(lambda: browser.execute_script(is_ready), "the viewer")
        return browser.execute_script("return state.selected")

    browser.press("r", "v")
    keys, said = "accppacutl", []
    for n in range(len(before)):
        said.append((shown(), keys[n % len(keys)]))
        browser.press(keys[n % len(keys)])
        if n == 0:
            browser.switch_to.active_element.send_keys("Dr. AB", Keys.ENTER)
        if n + 1 < len(before):
            browser.wait_for(lambda last=said[-1][0]: shown() != last, "the next finding")
    first = next(f for f, row in before.items() if row["exam_id"] == "E0" and row["peak_z_mm"] == 124.0)
    browser.get((home.gallery / "exams" / "E0" / "index.html").as_uri() + f"#{first}")
    assert shown() == first
    for place, key in ((PART, "o"), (MISSED, "m")):
        browser.execute_script("moveTo(apply(inverse(EXAM.to_ras), arguments[0]))", list(place))
        browser.press(key)
    home.reviews.mkdir()
    browser.saved().rename(home.reviews / "AB.csv")

    lake = curate_small(home, cohort)
    read, _ = reviewed(home)
    assert read.problems == ()
    names = {
        "a": "accept",
        "c": "wrong contour",
        "p": "physiologic",
        "u": "unsure",
        "t": "wrong text",
        "l": "wrong lesion",
    }
    assert dict(read.frame.select("finding_id", "answer").rows()) == {f: names[key] for f, key in said}
    after = {r["finding_id"]: r for r in lake.read_table("lesions").filter(outcome="lesion").to_dicts()}
    (added,) = set(after) - set(before)
    assert after[added]["suvmax"] == pytest.approx(5.0, abs=0.05)
    assert after[first]["mtv_ml"] > 1.3 * before[first]["mtv_ml"]
    assert {f for f in before if after[f]["mtv_ml"] != before[f]["mtv_ml"]} == {first}
    is_physiologic = lake.read_table("findings").filter(pl.col("is_physiologic"))["finding_id"]
    assert set(is_physiologic) == {f for f, key in said if key == "p"}
    assert set(lake.read_table("corrections")["status"]) == {"applied"}
    browser.get(pages(home, lake).as_uri())
    assert browser.execute_script("return entries.some((e) => e.id === arguments[0])", added)

    report = ReportTables.of(home).report("E0")
    page = tmp_path / "report.html"
    page.write_text(html_page(report), encoding="utf-8")
    browser.get(page.as_uri())
    text = browser.find_element("tag name", "body").text
    own = {f: row for f, row in after.items() if row["exam_id"] == "E0"}
    tumour = [row for f, row in own.items() if f not in set(is_physiologic)]
    assert text.startswith("Draft of a research tool, not for clinical use")
    assert f"{len(tumour)} lesions, MTV {sum(row['mtv_ml'] for row in tumour):.1f} mL" in text
    assert text.count("Physiologic uptake") == len(own) - len(tumour) > 0
    assert f"Hypermetabolic lesion with SUVmax {after[added]['suvmax']:.1f} (slice 11)." in text
