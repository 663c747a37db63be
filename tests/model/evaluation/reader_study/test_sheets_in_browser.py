"""A sheet in Chromium, from disk, with the network off: one rating session by keyboard, and what comes back of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from model.evaluation.reader_study.cases import Study
from model.evaluation.reader_study.ratings import read_ratings
from model.evaluation.reader_study.sheets import write_sheets
from pipelines.tables.home import Home

pytest.importorskip("selenium", reason="needs selenium")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(browser, study: Study, lesion_images: Path, tmp_path: Path, request) -> Study:
    """The sheet of the reader Two, open; each test has a study of its own, so that no ratings are left over."""
    own = replace(study, study_id=str(abs(hash(request.node.name)))[:12])
    summary = write_sheets(own, Home(lesion_images), tmp_path / "study")
    browser.get(summary.sheets["Two"].as_uri())
    assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
    browser.find_element(By.CSS_SELECTOR, "#help-dialog button").click()
    return own


class TestSheet:
    def test_a_session_by_keyboard_comes_back_as_it_was_rated(self, browser, opened: Study, tmp_path: Path) -> None:
        order = opened.order("Two")
        for case in order:
            browser.press(*("345" if case.report is None else "345123b"), Keys.ARROW_RIGHT)
        assert browser.find_element(By.ID, "progress").text == "12 of 12 rated"
        folder = tmp_path / "ratings"
        folder.mkdir()
        shutil.copy(browser.saved(), folder)
        read = read_ratings(folder, opened)
        assert read.problems == ()
        assert (read.frame.height, read.n_unrated) == (22, 0)
        for case in order:
            authors = opened.authors("Two", case)
            row = read.frame.filter(case_id=case.case_id, author=authors["A"]).row(0, named=True)
            assert (row["anatomy"], row["interpretation"], row["utility"]) == (3, 4, 5)
            preferred = None if case.report is None else "report" if authors["B"] == "report" else "model"
            assert row["preference"] == preferred

    def test_nothing_on_the_page_says_who_wrote_what(self, browser, opened: Study, tmp_path: Path) -> None:
        own = tmp_path / "study" / "sheets" / "Two"
        told = "".join(p.read_text() for p in own.glob("*") if p.is_file())
        for case in opened.cases:
            assert case.finding_id not in told
        assert opened.model not in told
        assert "SUVmax [#]" in told
        assert "4.2" not in browser.find_element(By.ID, "texts").text

    def test_ratings_outlive_the_page_and_a_lost_browser(self, browser, opened: Study) -> None:
        browser.press(*"345123t")
        browser.refresh()
        assert browser.find_element(By.ID, "progress").text.startswith("1 of")
        path = browser.saved()
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        assert browser.find_element(By.ID, "progress").text.startswith("0 of")
        browser.find_element(By.CSS_SELECTOR, "#help-dialog button").click()
        browser.find_element(By.ID, "file").send_keys(str(path))
        browser.wait_for(
            lambda: browser.find_element(By.ID, "progress").text.startswith("1 of"), "the ratings of the file"
        )

    def test_clicks_correct_a_rating_and_a_comment_stays(self, browser, opened: Study, tmp_path: Path) -> None:
        first = next(n for n, c in enumerate(opened.order("Two")) if c.report is not None)
        browser.find_element(By.CSS_SELECTOR, f"#strip button:nth-child({first + 1})").click()
        browser.press("1")
        browser.find_element(By.CSS_SELECTOR, '[data-row="anatomy_a"][data-value="5"]').click()
        browser.press("c")
        browser.find_element(By.ID, "comment").send_keys('2 of "these", a bit', Keys.ESCAPE)
        folder = tmp_path / "ratings"
        folder.mkdir()
        shutil.copy(browser.saved(), folder)
        frame = read_ratings(folder, opened).frame
        assert frame["anatomy"].drop_nulls().to_list() == [5]
        assert set(frame["comment"]) == {'2 of "these", a bit'}

    def test_every_picture_is_there_and_the_console_is_quiet(self, browser, opened: Study) -> None:
        picture = browser.find_element(By.ID, "picture")
        browser.wait_for(lambda: browser.execute_script("return arguments[0].naturalWidth", picture), "the picture")
        browser.press("3", "?")
        assert browser.find_element(By.ID, "help-dialog").is_displayed()
        assert [m for m in browser.get_log("browser") if m["level"] == "SEVERE"] == []
