"""The viewer in Chromium, from disk, with the network off: what it shows lies where it is, and is what the table says.

The exam is asymmetric: one lesion at the patient's left, front, head end, another at the right, back, feet end. It is
stored along other axes than the patient's, flipped and oblique; its CT has a grid of its own.
"""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.imaging.volume import Volume, save_nifti
from pipelines.review.exam_pages import ExamSources
from pipelines.review.gallery import GallerySettings, GalleryTables, write_gallery
from pipelines.tables.home import Home

pytest.importorskip("selenium", reason="needs selenium")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.browser

SIDE_MM = 4.0
LESIONS = {"E1:aa": ((-40.0, 30.0, 60.0), 43.217), "E1:bb": ((32.0, -24.0, -48.0), 7.345)}
"""Finding -> (RAS mm, SUV): of the left side, front, head; of the right side, back, feet."""
DENSE_MM, DENSE_HU = (32.0, -24.0, -48.0), 900
AXES = {
    "as the patient": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.array([[0, 0, -1.0], [1.0, 0, 0], [0, 1.0, 0]]),
    "oblique": np.array([[0.9848, -0.1736, 0], [0.1736, 0.9848, 0], [0, 0, 1.0]]),
}


def drawn(axes: np.ndarray, side_mm: float, blobs: list[tuple[Any, float, float]], background: float) -> Volume:
    """An image along `axes` about the origin: balls of (centre RAS mm, radius mm, value) in a ball of 90 mm."""
    n = int(200 / side_mm)
    affine = np.eye(4)
    affine[:3, :3] = axes * side_mm
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, n / 2)
    grid = Volume(np.zeros((n, n, n), np.int8), affine).to_ras_mm(np.moveaxis(np.indices((n, n, n)), 0, -1))
    array = np.where(np.linalg.norm(grid, axis=-1) < 90, background, background if background < 0 else 0.02)
    for centre, radius, value in blobs:
        off = np.linalg.norm(grid - np.array(centre), axis=-1)
        array = np.where(off < radius, value - off / 100, array)
    return Volume(array.astype(np.float32), affine)


def page(folder: Path, axes: np.ndarray, with_ct: bool) -> Path:
    """The exam's page, and nothing of another queue beside it."""
    home = folder / "home"
    blobs = [(at, 12.0, suv) for at, suv in LESIONS.values()]
    suv = drawn(axes, SIDE_MM, blobs, 1.0).canonical()
    save_nifti(suv, home / "SUV.nii")
    ct = drawn(np.eye(3), 3.0, [((0, 0, 0), 90.0, 40.0), (DENSE_MM, 12.0, DENSE_HU)], -1000.0)
    save_nifti(Volume(np.rint(ct.array).astype(np.int16), ct.affine), home / "CT.nii")
    rows, findings = [], []
    common = {"exam_id": "E1", "patient_id": "P", "row_key": "k"}
    for finding_id, (at, _) in LESIONS.items():
        centre = np.rint(suv.to_ijk(at)).astype(int)
        box = tuple(slice(c - 3, c + 4) for c in centre)
        mask = Volume((suv.array[box] > 2).astype(np.uint8), suv.crop(box).affine)
        path = f"masks/{finding_id[3:]}.nii.gz"
        save_nifti(mask, home / path)
        peak = centre - 3 + np.unravel_index(int(suv.array[box].argmax()), mask.shape)
        x, y, z = suv.to_ras_mm(peak)
        measured = {"outcome": "lesion", "suvmax": float(suv.array[tuple(peak)]), "mtv_ml": 7.0, "mask_path": path}
        rows.append({**common, "finding_id": finding_id, **measured, "peak_x_mm": x, "peak_y_mm": y, "peak_z_mm": z})
        said = {"sentence": f"A lesion, SUV max {at[0]}.", "outcome": "accepted", "organ": "lung"}
        findings.append({**common, "finding_id": finding_id, "sentence_id": finding_id, **said})
    exams = [{"exam_id": "E1", "tracer": "FDG", "suv_path": "SUV.nii", "ct_path": "CT.nii" if with_ct else None}]
    tables = GalleryTables(
        pl.DataFrame(rows),
        pl.DataFrame(findings).with_columns(slice=pl.lit(3), suvmax_reported=pl.lit(4.0), region=pl.lit("chest")),
        pl.DataFrame(schema={"sentence_id": pl.String, "reader": pl.String}),
        pl.DataFrame(exams),
    )
    summary = write_gallery(folder / "review", tables, GallerySettings(Home(home), folder.name, sources=ExamSources()))
    assert summary.pages.failed == {}
    return folder / "review" / "exams" / "E1" / "index.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The page of an exam stored along these axes, written once."""

    @cache
    def made(axes: str, with_ct: bool) -> Path:
        return page(tmp_path_factory.mktemp("review"), AXES[axes], with_ct)

    return made


@pytest.fixture
def opened(browser: Any, pages: Callable[..., Path]) -> Callable[..., Any]:
    def open_page(axes: str = "as the patient", with_ct: bool = True) -> Any:
        browser.get(pages(axes, with_ct).as_uri())
        browser.wait_for(lambda: browser.execute_script("return document.documentElement.dataset.ready"), "the viewer")
        return browser

    return open_page


def darkest(browser: Any, view: str) -> tuple[float, float]:
    """Place of the darkest spot of a view of the PET alone, as parts of its width and height from the upper left."""
    return tuple(
        browser.execute_script(
            """drawEnds = () => {}; state.contours = false; state.mode = "PET"; setSuv("0–max");
            const c = $(arguments[0]);
            const p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data; let x = 0, y = 0, n = 0;
            for (let q = 0; q < c.width * c.height; q += 1) {
              if (p[4 * q] + p[4 * q + 1] + p[4 * q + 2] >= 60) continue;
              x += q % c.width; y += Math.floor(q / c.width); n += 1;
            }
            return [x / n / c.width, y / n / c.height];""",
            view,
        )
    )


class TestOrientation:
    @pytest.mark.parametrize("axes", AXES)
    def test_left_is_on_the_right_front_is_up_and_head_is_up(self, opened: Any, axes: str) -> None:
        browser = opened(axes)
        browser.execute_script("go('E1:aa')")
        for view, is_right in {"axial": True, "coronal": True, "sagittal": False, "mip": True}.items():
            x, y = darkest(browser, view)
            assert (x > 0.5, y < 0.5) == (is_right, True), view

    @pytest.mark.parametrize("axes", AXES)
    def test_the_readout_is_the_table_at_every_peak(self, opened: Any, axes: str) -> None:
        browser = opened(axes)
        for finding_id, (at, suv) in LESIONS.items():
            browser.execute_script("go(arguments[0])", finding_id)
            table = browser.execute_script("return EXAM.findings.find((f) => f.id === arguments[0]).suvmax", finding_id)
            assert browser.execute_script("return suvAt(state.at)") == pytest.approx(table, abs=0.0051)
            assert table == pytest.approx(suv, abs=0.05)
            shown = browser.find_element(By.ID, "where").text.split("·")[1].replace("mm", "").split()
            assert np.abs(np.array(shown, float) - at).max() <= SIDE_MM

    @pytest.mark.parametrize("axes", ["flipped", "oblique"])
    def test_the_ct_lies_on_the_pet(self, opened: Any, axes: str) -> None:
        browser = opened(axes)
        browser.execute_script("go('E1:bb'); setMode('CT'); setCt('bone'); toggleContours()")
        assert browser.execute_script("return valueAt(ct, state.at)") == pytest.approx(DENSE_HU, abs=2)
        bright = browser.execute_script(
            """const c = $("axial"), g = geometry(c, VIEWS.axial);
            const at = (mm) => c.getContext("2d").getImageData(g.x(mm[0]) | 0, g.y(mm[1]) | 0, 1, 1).data[0];
            const side = [0, 1, 2].map((x) => state.at[x]); side[0] += 30; side[1] += 8;
            const here = [...state.at]; here[0] += 5; here[1] += 5; return [at(here), at(side)];"""
        )
        assert bright[0] > bright[1] + 60


class TestMoving:
    def test_keys_step_through_slices_and_findings(self, opened: Any) -> None:
        browser = opened()
        first = browser.execute_script("return [...state.at]")
        browser.press("\ue013")
        assert browser.execute_script("return state.at[2]") == pytest.approx(first[2] + SIDE_MM)
        seen = browser.execute_script("return state.selected")
        browser.press("\ue014")
        assert browser.execute_script("return state.selected") != seen

    def test_a_click_on_the_mip_goes_to_the_hottest_voxel_there(self, opened: Any) -> None:
        browser = opened()
        browser.execute_script("go('E1:bb'); turn(6)")
        at = browser.execute_script(
            "const m = $('mip'), p = mipGeometry(mipOf(state.angle), m);"
            " const one = EXAM.findings.find((f) => f.id === 'E1:aa');"
            " const r = m.width / m.clientWidth; toggleContours(); EXAM.findings.forEach((f) => { f.mask = null; });"
            " return [p.x(one.peak) / r, p.y(one.peak) / r, m.clientWidth, m.clientHeight]"
        )
        x, y = at[0] - at[2] / 2, at[1] - at[3] / 2
        mip = browser.find_element(By.ID, "mip")
        ActionChains(browser).move_to_element_with_offset(mip, x, y).click().perform()
        assert browser.execute_script("return suvAt(state.at)") > 40

    def test_an_exam_without_ct_shows_the_pet_alone(self, opened: Any) -> None:
        browser = opened(with_ct=False)
        assert browser.execute_script("return state.mode") == "PET"
        assert browser.find_elements(By.CSS_SELECTOR, "#ct-windows button") == []
        assert "HU" not in browser.find_element(By.TAG_NAME, "footer").text

    def test_the_outline_shows_in_every_preset(self, opened: Any) -> None:
        browser = opened()
        browser.execute_script("go('E1:aa')")
        missing = browser.execute_script(
            """const found = [], one = EXAM.findings.find((f) => f.id === state.selected);
            const color = [1, 3, 5].map((n) => parseInt(colorOf(one).slice(n, n + 2), 16));
            const count = (view) => {
              const c = $(view), p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
              let n = 0;
              for (let q = 0; q < p.length; q += 4) n += color.every((v, x) => Math.abs(p[q + x] - v) < 12);
              return n;
            };
            for (const mode of MODES) {
              for (const [suv, hu] of [["0–5", "soft"], ["0–10", "lung"], ["0–20", "bone"], ["0–max", "soft"]]) {
                setMode(mode); setSuv(suv); setCt(hu);
                for (const view of Object.keys(VIEWS)) if (count(view) < 40) found.push([mode, suv, hu, view]);
              }
            }
            return found;"""
        )
        assert missing == []

    def test_a_narrow_window_holds_all_of_it(self, opened: Any) -> None:
        browser = opened()
        size = browser.get_window_size()
        try:
            browser.set_window_size(500, 900)
            browser.wait_for(lambda: browser.execute_script("return innerWidth < 600"), "the narrow window")
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
            assert browser.find_element(By.ID, "axial").size["width"] > 300
        finally:
            browser.set_window_size(size["width"], size["height"])


def test_answers_given_here_are_in_the_gallery(opened: Any) -> None:
    browser = opened()
    browser.execute_script("localStorage.clear()")
    browser.execute_script("reviewer = 'AB'; store.set('reviewer', 'AB')")
    browser.press("a")
    time.sleep(0.3)  # The next finding is shown a moment after the answer.
    browser.press("g")
    browser.wait_for(lambda: browser.find_elements(By.ID, "detail"), "the gallery")
    assert browser.find_element(By.ID, "progress-text").text == "1 of 2 answered"
