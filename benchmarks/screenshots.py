"""Pictures of the review pages and of a draft report in docs/images, of drawn exams alone: curated, exported, proposed
and opened in Chromium from disk.

usage: python -m benchmarks.screenshots [--work FOLDER]
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from PIL import Image

from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.tables.atomic import write_bytes
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PHANTOM = PhantomSettings(n_patients=3, n_exams=4, seed=11)
WINDOW = (1280, 800)
COLOURS = 96
"""Of the palette of a picture, so that it stays below 150 kB."""


def made(work: Path) -> tuple[Home, str]:
    """A home with pages, exports and reports of drawn exams, and the exam that no report names."""
    cohort, home = work / "cohort", Home(work / "home")
    drawn = write_cohort(cohort, PHANTOM)
    unreported = drawn.exam_ids[-1]
    reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
    reports.filter(pl.col("exam_id") != unreported).write_csv(cohort / "reports.csv")
    environment = os.environ | {"PETAR_COHORT": str(cohort), "PETAR_HOME": str(home.root), "PYTHONWARNINGS": "ignore"}
    for command in ("propose", "export", "gallery"):
        subprocess.run([sys.executable, "-m", "assets.cli", command], cwd=ROOT, env=environment, check=True)
    return home, unreported


def browser() -> Any:
    """A headless Chromium.

    Raises:
        RuntimeError: there is none.
    """
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        raise RuntimeError("expected chromium and chromedriver on the path, they are not there: install both")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    options.add_argument(f"--window-size={WINDOW[0]},{WINDOW[1]}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def taken(driver: Any, name: str) -> None:
    """Saves what the browser shows as a picture of few colours."""
    shown = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    kept = io.BytesIO()
    shown.quantize(COLOURS).save(kept, "PNG", optimize=True)
    write_bytes(IMAGES / f"{name}.png", kept.getvalue())
    typer.echo(f"{name}.png: {len(kept.getvalue()) / 1000:.0f} kB")


def opened(driver: Any, page: Path, fragment: str = "") -> None:
    """Opens a page and waits until it is ready."""
    driver.get("about:blank")
    driver.get(page.as_uri() + fragment)
    deadline = time.monotonic() + 60
    while not driver.execute_script("return document.documentElement.dataset.ready || !document.querySelector('#who')"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"expected {page.name} to be ready within 60 s")
        time.sleep(0.1)


def viewer(driver: Any, page: Path, finding_id: str, steps: Sequence[str], name: str) -> None:
    """A finding in the viewer after some steps of its script."""
    opened(driver, page, f"#{finding_id}")
    for step in steps:
        driver.execute_script(step)
    time.sleep(0.2)
    taken(driver, name)


def main(
    work: Annotated[Path | None, typer.Option(help="folder that is kept; by default one that goes")] = None,
) -> None:
    """Writes the pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        home, unreported = made(work or Path(temporary))
        lake = Lake(home.lake)
        located = lake.read_table("lesions")
        rejected = located.filter(outcome="not in the image").sort("finding_id")["finding_id"][0]
        lesions = located.filter(outcome="lesion").sort("mtv_ml", descending=True)
        exam_id, largest = lesions.select("exam_id", "finding_id").row(0)
        proposal = lake.read_table("proposals").filter(exam_id=unreported).sort("place")["candidate_id"][0]
        pages = home.gallery / "exams"
        driver = browser()
        try:
            opened(driver, home.gallery / "index.html")
            taken(driver, "review-gallery")
            opened(driver, home.gallery / "index.html", f"#{largest}")
            taken(driver, "review-lesion")
            opened(driver, home.gallery / "index.html", f"#{rejected}")
            taken(driver, "review-rejected")
            own = pages / exam_id / "index.html"
            viewer(driver, own, largest, (), "viewer-fused")
            viewer(driver, own, largest, ('setMode("PET")', 'setSuv("0–5")'), "viewer-pet")
            viewer(driver, own, largest, ('setMode("CT")', 'setCt("bone")', "zoomBy(2.5)"), "viewer-ct")
            viewer(driver, pages / unreported / "index.html", proposal, ('setMode("PET")',), "viewer-proposal")
            opened(driver, home.exam_reports / exam_id / "report.html")
            taken(driver, "exam-report")
        finally:
            driver.quit()


if __name__ == "__main__":
    typer.run(main)
