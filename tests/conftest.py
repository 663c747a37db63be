"""Fixtures that several folders of tests share."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from pipelines.imaging.volume import Volume, save_nifti
from pipelines.phantom import PhantomSettings, write_cohort

# The same examples in every run, so that a failure belongs to the change that it appears with. New examples are tried
# with `pytest --hypothesis-profile=default`; one that fails is kept as an `@example`.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort of six coarse exams of four patients, with faults; not to be written to."""
    folder = tmp_path_factory.mktemp("phantom")
    write_cohort(folder, PhantomSettings(n_patients=4, n_exams=6, size="small", with_faults=True))
    return folder


@pytest.fixture(scope="session")
def lesion_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with SUV.nii, a cube of SUV 4.2 in a body of 0.6, and mask.nii.gz over it; not to be written to."""
    folder = tmp_path_factory.mktemp("images")
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    array = np.full((24, 24, 24), 0.6, np.float32)
    array[8:12, 8:12, 8:12] = 4.2
    save_nifti(Volume(array, affine), folder / "SUV.nii")
    moved = affine.copy()
    moved[:3, 3] = 40.0
    save_nifti(Volume(np.ones((4, 4, 4), np.uint8), moved), folder / "mask.nii.gz")
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Chromium without a network, for pages that open from disk; its `downloads` is where it saves files."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver_path):
        pytest.skip("needs chromium and chromium-driver")

    class Browser(webdriver.Chrome):  # type: ignore[misc]  # A class of its own, for selenium may not be there.
        downloads = tmp_path_factory.mktemp("downloads")

        def press(self, *keys: str) -> None:
            """As a keyboard, to what has the focus: a button of a dialog that just closed refuses keys of its own."""
            for key in keys:
                webdriver.ActionChains(self).send_keys(key).perform()

        def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                if value := condition():
                    return value
                time.sleep(0.02)
            raise AssertionError(f"waited in vain for {what}")

        def saved(self) -> Path:
            """The file that a page saves when "s" is pressed."""
            before = set(self.downloads.glob("*.csv"))
            self.press("s")
            return self.wait_for(lambda: next(iter(set(self.downloads.glob("*.csv")) - before), None), "the saved file")

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1280,1000",
    ):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(Browser.downloads)})
    driver = Browser(options=options, service=webdriver.ChromeService(driver_path))
    driver.set_network_conditions(offline=True, latency=0, throughput=0)
    yield driver
    driver.quit()
