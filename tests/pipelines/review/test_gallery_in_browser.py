"""The gallery in Chromium, from disk, with the network off: a review by keyboard, and what comes back from it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.review.gallery import GallerySettings, GallerySummary, GalleryTables, write_gallery
from pipelines.review.reviews import ReviewsRead, read_reviews
from pipelines.tables.home import Home

pytest.importorskip("selenium", reason="needs selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser

N_LESIONS = 20
SENTENCE = 'Nodule in the left lung with SUV max of 4.2, "hot" <b>and</b> bold (slice {}).'


def tables() -> dict[str, pl.DataFrame | None]:
    """A curation of one small exam with twenty lesions and one finding that was rejected by its text."""
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
def curated() -> dict[str, pl.DataFrame | None]:
    return tables()


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory, lesion_images: Path) -> Callable[..., GallerySummary]:
    """Writes the gallery of a curation, where the one before it was."""
    folder = tmp_path_factory.mktemp("review")

    def write(tables: dict, curation: str, reviews: pl.DataFrame | None = None) -> GallerySummary:
        shown = GalleryTables(**tables, reviews=reviews)
        return write_gallery(folder, shown, GallerySettings(Home(lesion_images), curation))

    return write


@pytest.fixture
def opened(
    browser: Any, write: Callable[..., GallerySummary], curated: dict, request: pytest.FixtureRequest
) -> list[str]:
    """Finding ids of a fresh gallery that is open: each test has a curation of its own, so no answers are left over."""
    summary = write(curated, request.node.name)
    assert summary.without_picture == {}
    browser.get(summary.index.as_uri())
    browser.execute_script("localStorage.clear()")  # Answers of another test are taken up: the findings are the same.
    browser.refresh()
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
    return curated["findings"]["finding_id"].to_list()


def choose(browser: Any, name: str, value: str) -> None:
    """Chooses a filter's value with the mouse."""
    browser.find_element(By.ID, name).click()
    browser.find_element(By.CSS_SELECTOR, f'#{name} option[value="{value}"]').click()


def shown_id(browser: Any) -> str:
    return browser.execute_script("return decodeURIComponent(location.hash.slice(1))")


def review(browser: Any, keys: str) -> list[str]:
    """Answers one finding after the other by the keys given; the ids in the order in which they were shown."""
    browser.press("r")
    seen = []
    for n, key in enumerate(keys):
        seen.append(browser.wait_for(lambda: shown_id(browser), "a finding"))
        browser.press(key)
        if n == 0:
            browser.wait_for(
                lambda: browser.find_element(By.ID, "who-dialog").get_attribute("open"), "the question who reviews"
            )
            browser.find_element(By.ID, "who-input").send_keys("Dr. Ä, B", Keys.ENTER)
        if n + 1 < len(keys):
            browser.wait_for(lambda: shown_id(browser) != seen[-1], "the next finding")
    return seen


def read(path: Path, curated: dict, curation: str = "") -> ReviewsRead:
    return read_reviews(path, curated["findings"], curated["localisations"], curation)


class TestReviewByKeyboard:
    def test_twenty_lesions_come_back_as_they_were_answered(self, browser, opened, curated):
        keys = "alctu" * 4
        seen = review(browser, keys)
        found = read(browser.saved(), curated)
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
        path = browser.saved()
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        assert browser.find_element(By.ID, "progress-text").text.startswith("0 of")
        browser.find_element(By.ID, "file").send_keys(str(path))
        browser.wait_for(
            lambda: browser.find_element(By.ID, "progress-text").text.startswith("3 of"), "the answers of the file"
        )
        assert read(path, curated).frame.height == 3

    def test_a_note_goes_with_the_answer(self, browser, opened, curated):
        (answered,) = review(browser, "a")
        browser.wait_for(lambda: shown_id(browser) != answered, "the next finding")
        browser.press(Keys.ARROW_LEFT, "n")
        note = browser.find_element(By.ID, "note")
        note.send_keys('leaks; "into" the bladder, a bit', Keys.ESCAPE)
        assert read(browser.saved(), curated).frame["note"].to_list() == ['leaks; "into" the bladder, a bit']

    def test_a_note_begun_right_after_an_answer_holds_the_page(self, browser, opened):
        """The next page waits for it: what is typed must not land on another finding."""
        browser.press("r")
        first = browser.wait_for(lambda: shown_id(browser), "a finding")
        browser.execute_script("reviewer = 'AB'; answer(current(), 'accept'); $('note').focus()")
        time.sleep(0.4)
        assert shown_id(browser) == first

    def test_a_key_that_follows_at_once_meets_the_finding(self, browser, opened):
        browser.execute_script(
            "for (const key of ['r', 'n'])"
            " document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))"
        )
        time.sleep(0.2)  # What the browser tells later must not take the note away again.
        assert browser.switch_to.active_element.get_attribute("id") == "note"

    def test_letters_in_a_note_are_no_answers(self, browser, opened):
        browser.press("r", "n")
        browser.find_element(By.ID, "note").send_keys("a clear lump")
        assert browser.find_elements(By.CSS_SELECTOR, '#answers [aria-pressed="true"]') == []


class TestFindingMadeAnew:
    @pytest.fixture
    def grown(self, curated: dict) -> dict:
        """The next curation: the first lesion has another contour."""
        first = pl.col("finding_id") == "E1:00"
        lesions = curated["localisations"].with_columns(mtv_ml=pl.when(first).then(9.0).otherwise("mtv_ml"))
        return curated | {"localisations": lesions}

    def again(self, browser: Any) -> list[str]:
        choose(browser, "f-answer", "look again")
        return [c.get_attribute("data-id") for c in browser.find_elements(By.CSS_SELECTOR, ".card")]

    def test_answers_that_still_hold_are_there_and_the_others_are_asked_again(self, browser, opened, write, grown):
        seen = review(browser, "a" * N_LESIONS)
        assert "E1:00" in seen
        browser.get(write(grown, "the next").index.as_uri())
        assert browser.find_element(By.ID, "progress-text").text == f"{N_LESIONS - 1} of {N_LESIONS + 1} answered"
        assert self.again(browser) == ["E1:00"]
        assert browser.find_element(By.ID, "save").text.endswith("*")

    def test_the_file_keeps_both_curations_apart(self, browser, opened, write, grown):
        review(browser, "a" * N_LESIONS)
        browser.get(write(grown, "the next").index.as_uri())
        found = read(browser.saved(), grown, "the next")
        assert found.frame.filter("is_stale")["finding_id"].to_list() == ["E1:00"]
        self.again(browser)
        browser.press("r", "c")
        stale = read(browser.saved(), grown, "the next").frame
        assert stale.filter(finding_id="E1:00").select("answer", "is_stale").rows() == [("wrong contour", False)]

    def test_what_another_reviewer_said_of_it_is_shown(self, browser, opened, write, curated, grown):
        review(browser, "c" * N_LESIONS)
        reviews = read(browser.saved(), grown).frame.with_columns(reviewer=pl.lit("CD"))
        browser.execute_script("localStorage.clear()")
        browser.get(write(grown, "the next", reviews).index.as_uri())
        assert self.again(browser) == ["E1:00"]
        browser.press("r")
        told = browser.wait_for(lambda: browser.find_elements(By.ID, "earlier"), "what was said")[0].text
        assert "CD: wrong contour" in told


class TestPage:
    def test_numbers_and_side_are_highlighted_and_markup_is_text(self, browser, opened):
        browser.press("r")
        sentence = browser.wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, ".sentence"), "the sentence")[0]
        assert sentence.text == SENTENCE.format(1)
        marks = sentence.find_elements(By.TAG_NAME, "mark")
        assert [(m.get_attribute("class"), m.text) for m in marks] == [("side", "left"), ("suv", "4.2"), ("slice", "1")]

    def test_a_filter_leaves_what_passes(self, browser, opened):
        choose(browser, "f-outcome", "several lesions")
        cards = browser.find_elements(By.CSS_SELECTOR, ".card")
        assert [c.get_attribute("data-id") for c in cards] == [f"E1:{N_LESIONS:02d}"]

    def test_a_filter_chosen_with_the_mouse_gives_the_keys_back(self, browser, opened):
        choose(browser, "f-region", "chest")
        browser.press("r")
        assert browser.wait_for(lambda: shown_id(browser), "a finding") in opened[1::2]

    def test_a_filter_chosen_with_the_keys_keeps_them(self, browser, opened):
        choices = browser.find_element(By.ID, "f-outcome")
        choices.send_keys(Keys.ARROW_DOWN)
        assert choices.get_attribute("value") == "lesion"
        assert browser.switch_to.active_element == choices

    def test_a_rejected_finding_says_why_it_has_no_picture(self, browser, opened):
        browser.execute_script("go(arguments[0])", opened[-1])
        assert browser.wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, ".nopicture"), "the page")[
            0
        ].text.startswith("Rejected")

    def test_every_picture_that_is_named_is_there(self, browser, opened):
        browser.press("r")
        picture = browser.wait_for(lambda: browser.find_elements(By.ID, "picture"), "the page")[0]
        browser.wait_for(lambda: browser.execute_script("return arguments[0].naturalWidth", picture), "the picture")

    def test_a_page_of_one_finding_has_an_address(self, browser, opened):
        browser.get(browser.current_url.split("#")[0] + f"#{opened[2]}")
        browser.wait_for(lambda: browser.find_element(By.ID, "detail").is_displayed(), "the page")
        assert browser.find_element(By.CSS_SELECTOR, "#detail h2").text == "E1"
        assert browser.find_element(By.CSS_SELECTOR, ".sentence").text == SENTENCE.format(3)

    def test_nothing_goes_wrong_in_the_console(self, browser, opened):
        review(browser, "ac")
        assert [m for m in browser.get_log("browser") if m["level"] == "SEVERE"] == []
