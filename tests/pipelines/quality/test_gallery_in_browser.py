"""The gallery in Chromium, from disk, with the network off: a review by keyboard, and what comes back from it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pytest

from pipelines.quality.gallery import GallerySettings, write_gallery
from pipelines.quality.reviews import ReviewsRead, read_reviews

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]

N_LESIONS = 20
SENTENCE = 'Nodule in the left lung with SUV max of 4.2, "hot" <b>and</b> bold (slice {}).'


def tables(home: Path) -> dict[str, pl.DataFrame | None]:
    """A curation of one small exam with twenty lesions and one finding that was rejected by its text."""
    array = np.full((24, 24, 24), 0.6, np.float32)
    array[8:12, 8:12, 8:12] = 4.2
    nibabel.save(nibabel.Nifti1Image(array, np.diag([5.0, 5.0, 5.0, 1.0])), home / "SUV.nii")
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = 40.0
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), affine), home / "mask.nii.gz")
    findings = pl.DataFrame(
        [
            {
                "exam_id": "E1",
                "patient_id": "P",
                "row_key": "k",
                "finding_id": f"E1:{n:02d}",
                "sentence_id": f"E1:{n:02d}",
                "sentence": SENTENCE.format(n + 1),
                "slice": n + 1,
                "suvmax_reported": 4.2,
                "outcome": "accepted" if n < N_LESIONS else "several lesions",
                "region": "chest" if n % 2 else "abdomen/pelvis",
                "organ": "lung",
            }
            for n in range(N_LESIONS + 1)
        ]
    )
    lesions = findings.head(N_LESIONS).select("exam_id", "patient_id", "row_key", "finding_id")
    lesions = lesions.with_columns(
        outcome=pl.lit("lesion"), suvmax=4.2, mtv_ml=8.0, slice_k=pl.lit(9), mask_path=pl.lit("mask.nii.gz")
    )
    exams = pl.DataFrame([{"exam_id": "E1", "tracer": "FDG", "suv_path": "SUV.nii", "ct_path": None}])
    readings = pl.DataFrame(schema={"sentence_id": pl.String, "reader": pl.String})
    return {"localisations": lesions, "findings": findings, "readings": readings, "exams": exams, "flags": None}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def curated(home: Path) -> dict[str, pl.DataFrame | None]:
    return tables(home)


@pytest.fixture
def opened(browser: "webdriver.Chrome", home: Path, curated: dict, request: pytest.FixtureRequest) -> list[str]:
    """Finding ids of a fresh gallery that is open: each test has a curation of its own, so no answers are left over."""
    summary = write_gallery(home / "review", **curated, settings=GallerySettings(home, request.node.name))
    assert summary.without_picture == {}
    browser.get(summary.index.as_uri())
    browser.execute_script("localStorage.clear()")  # Answers of another test are taken up: the findings are the same.
    browser.refresh()
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
    return curated["findings"]["finding_id"].to_list()


def wait_for(condition: Callable[[], object], what: str) -> object:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def press(browser: "webdriver.Chrome", *keys: str) -> None:
    for key in keys:
        webdriver.ActionChains(browser).send_keys(key).perform()


def shown_id(browser: "webdriver.Chrome") -> str:
    return browser.execute_script("return decodeURIComponent(location.hash.slice(1))")


def review(browser: "webdriver.Chrome", keys: str) -> list[str]:
    """Answers one finding after the other by the keys given; the ids in the order in which they were shown."""
    press(browser, "r")
    seen = []
    for n, key in enumerate(keys):
        seen.append(wait_for(lambda: shown_id(browser), "a finding"))
        press(browser, key)
        if n == 0:
            wait_for(
                lambda: browser.find_element(By.ID, "who-dialog").get_attribute("open"), "the question who reviews"
            )
            browser.find_element(By.ID, "who-input").send_keys("Dr. Ä, B", Keys.ENTER)
        if n + 1 < len(keys):
            wait_for(lambda: shown_id(browser) != seen[-1], "the next finding")
    return seen


def read(path: Path, curated: dict, curation: str = "") -> ReviewsRead:
    return read_reviews(path, curated["findings"], curated["localisations"], curation)


def saved(browser: "webdriver.Chrome") -> Path:
    before = set(browser.downloads.glob("*.csv"))
    press(browser, "s")
    return wait_for(lambda: next(iter(set(browser.downloads.glob("*.csv")) - before), None), "the saved file")


class TestReviewByKeyboard:
    def test_twenty_lesions_come_back_as_they_were_answered(self, browser, opened, curated):
        keys = "alctu" * 4
        seen = review(browser, keys)
        found = read(saved(browser), curated)
        said = dict(zip("alctu", ("accept", "wrong lesion", "wrong contour", "wrong text", "unsure")))
        assert found.problems == ()
        assert dict(found.frame.select("finding_id", "answer").iter_rows()) == {
            i: said[k] for i, k in zip(seen, keys, strict=True)
        }
        assert set(found.frame["reviewer"]) == {"Dr. Ä, B"}

    def test_answers_outlive_the_page(self, browser, opened):
        review(browser, "al")
        browser.refresh()
        assert browser.find_element(By.ID, "progress-text").text.startswith("2 of")

    def test_a_saved_file_is_taken_up_where_the_browser_forgot(self, browser, opened, curated):
        review(browser, "alc")
        path = saved(browser)
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        assert browser.find_element(By.ID, "progress-text").text.startswith("0 of")
        browser.find_element(By.ID, "file").send_keys(str(path))
        wait_for(
            lambda: browser.find_element(By.ID, "progress-text").text.startswith("3 of"), "the answers of the file"
        )
        assert read(path, curated).frame.height == 3

    def test_a_note_goes_with_the_answer(self, browser, opened, curated):
        (answered,) = review(browser, "a")
        wait_for(lambda: shown_id(browser) != answered, "the next finding")
        press(browser, Keys.ARROW_LEFT, "n")
        note = browser.find_element(By.ID, "note")
        note.send_keys('leaks; "into" the bladder, a bit', Keys.ESCAPE)
        assert read(saved(browser), curated).frame["note"].to_list() == ['leaks; "into" the bladder, a bit']

    def test_a_note_begun_right_after_an_answer_holds_the_page(self, browser, opened):
        """The next page waits for it: what is typed must not land on another finding."""
        press(browser, "r")
        first = wait_for(lambda: shown_id(browser), "a finding")
        browser.execute_script("reviewer = 'AB'; answer(current(), 'accept'); $('note').focus()")
        time.sleep(0.4)
        assert shown_id(browser) == first

    def test_letters_in_a_note_are_no_answers(self, browser, opened):
        press(browser, "r", "n")
        browser.find_element(By.ID, "note").send_keys("a clear lump")
        assert browser.find_elements(By.CSS_SELECTOR, '#answers [aria-pressed="true"]') == []


class TestFindingMadeAnew:
    @pytest.fixture
    def grown(self, curated: dict) -> dict:
        """The next curation: the first lesion has another contour."""
        first = pl.col("finding_id") == "E1:00"
        lesions = curated["localisations"].with_columns(mtv_ml=pl.when(first).then(9.0).otherwise("mtv_ml"))
        return curated | {"localisations": lesions}

    def show(self, browser: "webdriver.Chrome", home: Path, grown: dict, reviews: pl.DataFrame | None = None) -> None:
        made = write_gallery(home / "review", **grown, settings=GallerySettings(home, "the next"), reviews=reviews)
        browser.get(made.index.as_uri())

    def again(self, browser: "webdriver.Chrome") -> list[str]:
        browser.find_element(By.CSS_SELECTOR, '#f-answer option[value="look again"]').click()
        return [c.get_attribute("data-id") for c in browser.find_elements(By.CSS_SELECTOR, ".card")]

    def test_answers_that_still_hold_are_there_and_the_others_are_asked_again(self, browser, opened, home, grown):
        seen = review(browser, "a" * N_LESIONS)
        assert "E1:00" in seen
        self.show(browser, home, grown)
        assert browser.find_element(By.ID, "progress-text").text == f"{N_LESIONS - 1} of {N_LESIONS + 1} answered"
        assert self.again(browser) == ["E1:00"]
        assert browser.find_element(By.ID, "save").text.endswith("*")

    def test_the_file_keeps_both_curations_apart(self, browser, opened, home, grown):
        review(browser, "a" * N_LESIONS)
        self.show(browser, home, grown)
        found = read(saved(browser), grown, "the next")
        assert found.frame.filter("is_stale")["finding_id"].to_list() == ["E1:00"]
        self.again(browser)
        press(browser, Keys.ESCAPE, "r", "c")
        stale = read(saved(browser), grown, "the next").frame
        assert stale.filter(finding_id="E1:00").select("answer", "is_stale").rows() == [("wrong contour", False)]

    def test_what_another_reviewer_said_of_it_is_shown(self, browser, opened, home, curated, grown):
        review(browser, "c" * N_LESIONS)
        reviews = read(saved(browser), grown).frame.with_columns(reviewer=pl.lit("CD"))
        browser.execute_script("localStorage.clear()")
        self.show(browser, home, grown, reviews)
        assert self.again(browser) == ["E1:00"]
        press(browser, Keys.ESCAPE, "r")
        told = wait_for(lambda: browser.find_elements(By.ID, "earlier"), "what was said")[0].text
        assert "CD: wrong contour" in told


class TestPage:
    def test_numbers_and_side_are_highlighted_and_markup_is_text(self, browser, opened):
        press(browser, "r")
        sentence = wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, ".sentence"), "the sentence")[0]
        assert sentence.text == SENTENCE.format(1)
        marks = sentence.find_elements(By.TAG_NAME, "mark")
        assert [(m.get_attribute("class"), m.text) for m in marks] == [("side", "left"), ("suv", "4.2"), ("slice", "1")]

    def test_a_filter_leaves_what_passes(self, browser, opened):
        browser.find_element(By.CSS_SELECTOR, '#f-outcome option[value="several lesions"]').click()
        cards = browser.find_elements(By.CSS_SELECTOR, ".card")
        assert [c.get_attribute("data-id") for c in cards] == [f"E1:{N_LESIONS:02d}"]

    def test_a_rejected_finding_says_why_it_has_no_picture(self, browser, opened):
        browser.execute_script("go(arguments[0])", opened[-1])
        assert wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, ".nopicture"), "the page")[0].text.startswith(
            "Rejected"
        )

    def test_every_picture_that_is_named_is_there(self, browser, opened):
        press(browser, "r")
        picture = wait_for(lambda: browser.find_elements(By.ID, "picture"), "the page")[0]
        wait_for(lambda: browser.execute_script("return arguments[0].naturalWidth", picture), "the picture")

    def test_a_page_of_one_finding_has_an_address(self, browser, opened):
        browser.get(browser.current_url.split("#")[0] + f"#{opened[2]}")
        wait_for(lambda: browser.find_element(By.ID, "detail").is_displayed(), "the page")
        assert browser.find_element(By.CSS_SELECTOR, "#detail h2").text == "E1"
        assert browser.find_element(By.CSS_SELECTOR, ".sentence").text == SENTENCE.format(3)

    def test_nothing_goes_wrong_in_the_console(self, browser, opened):
        review(browser, "ac")
        assert [m for m in browser.get_log("browser") if m["level"] == "SEVERE"] == []
