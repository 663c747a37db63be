"""Fixtures that several folders of tests share."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.phantom import PhantomSettings, write_cohort


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort of six coarse exams of four patients, with faults; not to be written to."""
    folder = tmp_path_factory.mktemp("phantom")
    write_cohort(folder, PhantomSettings(n_patients=4, n_exams=6, size="small", with_faults=True))
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Chromium without a network, for pages that open from disk; its `downloads` is where it saves files."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1280,1000",
    ):
        options.add_argument(flag)
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.downloads = downloads
    driver.set_network_conditions(offline=True, latency=0, throughput=0)
    yield driver
    driver.quit()
