"""An hour of a physician in the pages: twenty lesions judged by keys, a contour corrected by a click, a missed lesion
marked, proposals of an exam without a report judged; what the browser saves goes through the next curation, and the
draft reports are read.
"""

import logging
from dataclasses import dataclass
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
KEYS = "accppacutl"
KEYS_SAY = {
    "a": "accept",
    "c": "wrong contour",
    "p": "physiologic",
    "u": "unsure",
    "t": "wrong text",
    "l": "wrong lesion",
}
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


@dataclass(frozen=True)
class Judged:
    """A home before and after the hour: answers by finding as keys, and by proposal."""

    home: Home
    before: dict[str, dict[str, Any]]
    said: dict[str, str]
    corrected: str
    """The finding that a focus was joined to."""
    proposals: tuple[str, str, str]
    after: Lake

    @property
    def lesions(self) -> dict[str, dict[str, Any]]:
        """Those of the reported exams, after it."""
        return located(self.after)

    @property
    def added(self) -> str:
        (added,) = set(self.lesions) - set(self.before)
        return added


def located(lake: Lake) -> dict[str, dict[str, Any]]:
    return {r["finding_id"]: r for r in lake.read_table("lesions").filter(outcome="lesion").to_dicts()}


def viewed(browser: Any) -> str:
    """The finding that the viewer shows, once it is ready."""
    ready = "return document.documentElement.dataset.ready === 'yes' && typeof EXAM !== 'undefined' && state.selected"
    return browser.wait_for(lambda: browser.execute_script(ready), "the viewer")


def judge_findings(browser: Any, count: int) -> dict[str, str]:
    """Answers as many findings one after the other by keys."""
    browser.press("r", "v")
    said: dict[str, str] = {}
    for n in range(count):
        browser.wait_for(lambda: viewed(browser) not in said, "the next finding")
        said[viewed(browser)] = KEYS[n % len(KEYS)]
        browser.press(KEYS[n % len(KEYS)])
        if n == 0:
            browser.switch_to.active_element.send_keys("Dr. AB", Keys.ENTER)
    return said


def correct(browser: Any, page: Path, finding_id: str) -> None:
    """Joins a focus to a finding and marks a lesion that was missed."""
    browser.get(page.as_uri() + f"#{finding_id}")
    assert viewed(browser) == finding_id
    for place, key in ((PART, "o"), (MISSED, "m")):
        browser.execute_script("moveTo(apply(inverse(EXAM.to_ras), arguments[0]))", list(place))
        browser.press(key)


def judge_proposals(browser: Any, page: Path, names: tuple[str, str, str]) -> None:
    """Calls the first a lesion, the second physiologic with its organ, the third a part of another."""
    browser.get(page.as_uri() + f"#{names[0]}")
    for key, name in zip("apo", names):
        browser.wait_for(lambda name=name: viewed(browser) == name, "the next proposal")
        browser.press(key)
    browser.execute_script("go(arguments[0])", names[1])
    organ = browser.wait_for(lambda: browser.find_elements("id", "organ"), "the field of the organ")[0]
    organ.send_keys("left heart", Keys.ESCAPE)
    browser.press("t", "l")  # Of findings alone: nothing is answered.
    assert browser.execute_script("return correctionsOf(arguments[0]).length", names[1]) == 0


@pytest.fixture(scope="module")
def judged(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("hour")
    home, cohort = Home(folder / "home"), folder / "cohort"
    write_cohort(cohort)
    lake = proposed(home, cohort)
    before = located(lake)
    assert len(before) == N_EXAMS * N_LESIONS
    browser.get(pages(home, lake).as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    said = judge_findings(browser, len(before))
    assert set(said) == set(before)
    corrected = next(f for f, row in before.items() if row["exam_id"] == "E0" and row["peak_z_mm"] == 124.0)
    correct(browser, home.gallery / "exams" / "E0" / "index.html", corrected)
    first, second, third = lake.read_table("proposals").sort("place")["candidate_id"].to_list()[:3]
    judge_proposals(browser, home.gallery / "exams" / UNREPORTED / "index.html", (first, second, third))
    home.reviews.mkdir()
    browser.saved().rename(home.reviews / "AB.csv")
    return Judged(home, before, said, corrected, (first, second, third), proposed(home, cohort))


def test_every_answer_comes_back_and_corrections_are_applied(judged: Judged) -> None:
    read, _ = reviewed(judged.home)
    assert read.problems == ()
    answers = read.frame.filter(pl.col("finding_id").is_in(sorted(judged.said)))
    assert dict(answers.select("finding_id", "answer").rows()) == {f: KEYS_SAY[key] for f, key in judged.said.items()}
    before, after = judged.before, judged.lesions
    assert after[judged.added]["suvmax"] == pytest.approx(5.0, abs=0.05)
    assert after[judged.corrected]["mtv_ml"] > 1.3 * before[judged.corrected]["mtv_ml"]
    assert {f for f in before if after[f]["mtv_ml"] != before[f]["mtv_ml"]} == {judged.corrected}
    is_physiologic = judged.after.read_table("findings").filter(pl.col("is_physiologic"))["finding_id"]
    assert set(is_physiologic) == {f for f, key in judged.said.items() if key == "p"}
    assert set(judged.after.read_table("corrections")["status"]) == {"applied"}


def test_what_was_added_is_in_the_next_pages(browser: Any, judged: Judged) -> None:
    browser.get(pages(judged.home, judged.after).as_uri())
    assert browser.execute_script("return entries.some((e) => e.id === arguments[0])", judged.added)


def test_the_draft_report_says_what_was_judged(browser: Any, judged: Judged, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(html_page(ReportTables.of(judged.home).report("E0")), encoding="utf-8")
    browser.get(page.as_uri())
    text = browser.find_element("tag name", "body").text
    own = {f: row for f, row in judged.lesions.items() if row["exam_id"] == "E0"}
    tumour = [row for f, row in own.items() if judged.said.get(f) != "p"]
    assert text.startswith("Draft of a research tool, not for clinical use")
    assert f"{len(tumour)} lesions, MTV {sum(row['mtv_ml'] for row in tumour):.1f} mL" in text
    assert text.count("Physiologic uptake") == len(own) - len(tumour) > 0
    assert f"Hypermetabolic lesion with SUVmax {own[judged.added]['suvmax']:.1f} (slice 11)." in text


def test_what_was_said_of_proposals_is_in_the_draft_of_their_exam(judged: Judged) -> None:
    proposals = judged.after.read_table("proposals").drop_nulls("answer")
    first, second, third = judged.proposals
    said = {first: "lesion", second: "physiologic", third: "part of another"}
    assert dict(proposals.select("candidate_id", "answer").rows()) == said
    assert proposals.filter(candidate_id=second)["organ"].to_list() == ["left heart"]
    assert proposals.filter("is_accepted")["candidate_id"].to_list() == [first]
    assert len(ReportTables.of(judged.home).report(UNREPORTED).lesions) == 1
