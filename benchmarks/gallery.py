"""The review gallery at size: how long it takes to draw, to draw again, and to open in Chromium from disk.

python -m benchmarks.gallery [--lesions 500] [--folder DIR]

Prints one line a figure and exits 1 where the gallery opens in more than 2 s. The exam is a phantom's; every finding
has pictures of its own, so 500 take some minutes.
"""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from benchmarks.figures import Figure
from pipelines.imaging.volume import Volume, load_nifti, save_nifti
from pipelines.phantom import PhantomSettings, write_cohort
from pipelines.review.gallery import GallerySettings, GalleryTables, write_gallery
from pipelines.tables.home import Home

GOAL_OPEN_S = 2.0


def main(
    lesions: int = 500,
    folder: Annotated[Path | None, typer.Option(help="where the gallery stays (default: a temporary folder)")] = None,
) -> None:
    """Draws a gallery twice and opens it; exits 1 where it opens too late."""
    with tempfile.TemporaryDirectory() as temporary:
        home = folder or Path(temporary)
        frames = generate(home, lesions)
        times = []
        for _ in range(2):
            start = time.perf_counter()
            settings = GallerySettings(Home(home), "bench", n_lesions=lesions)
            summary = write_gallery(home / "review", GalleryTables(**frames), settings)
            times.append(time.perf_counter() - start)
        size_mb = sum(p.stat().st_size for p in (home / "review").rglob("*") if p.is_file()) / 1e6
        print(f"gallery of {summary.n_lesions} lesions: {size_mb:.0f} MB")
        print(f"drawn in {times[0]:.1f} s ({1000 * times[0] / lesions:.0f} ms a finding)")
        print(f"made again with nothing changed in {times[1]:.2f} s ({times[0] / times[1]:.0f} times faster)")
        opened = open_in_chromium(summary.index)
    if opened is None:
        print("opening: not measured, it needs chromium, chromium-driver and selenium")
        return
    figure = Figure("opened in Chromium", opened, GOAL_OPEN_S)
    print(figure.line())
    raise typer.Exit(figure.missed)


def generate(home: Path, n_lesions: int) -> dict[str, pl.DataFrame]:
    """Tables of a curation with `n_lesions` lesions in one exam of a phantom, its volume and masks under `home`."""
    write_cohort(home / "cohort", PhantomSettings(n_patients=1, n_exams=1, size="small"))
    exam = home / "cohort" / "exams" / "PX-0001"
    suv, ct = load_nifti(exam / "SUV.nii.gz"), load_nifti(exam / "CT.nii.gz")
    save_nifti(suv, home / "SUV.nii")
    save_nifti(ct, home / "CT.nii")
    rng = np.random.default_rng(0)
    size = 4
    rows = []
    for n in range(n_lesions):
        corner = [int(rng.integers(length // 4, 3 * length // 4)) for length in suv.shape]
        affine = suv.affine.copy()
        affine[:3, 3] = suv.to_ras_mm(corner)
        mask = home / "masks" / f"{n}.nii.gz"
        save_nifti(Volume(np.ones((size, size, size), np.uint8), affine), mask)
        slice_k = corner[2] + size // 2
        rows.append(
            {
                "finding_id": f"PX-0001:{n:08x}",
                "exam_id": "PX-0001",
                "patient_id": "P1",
                "row_key": f"key {n}",
                "sentence_id": f"PX-0001:{n:08x}",
                "sentence": f"Nodule in the left lung, SUV max 4.2 (slice {suv.shape[2] - slice_k}).",
                "slice": suv.shape[2] - slice_k,
                "suvmax_reported": 4.2,
                "region": ("chest", "abdomen/pelvis", "head/neck")[n % 3],
                "organ": "lung",
                "slice_k": slice_k,
                "suvmax": 4.2,
                "mtv_ml": float(rng.uniform(0.5, 30)),
                "mask_path": str(mask.relative_to(home)),
            }
        )
    whole = pl.DataFrame(rows)
    text = ["finding_id", "exam_id", "patient_id", "row_key", "sentence_id", "sentence", "slice", "suvmax_reported"]
    return {
        "findings": whole.select(*text, "region", "organ", outcome=pl.lit("accepted")),
        "localisations": whole.select(
            "finding_id", "row_key", "slice_k", "suvmax", "mtv_ml", "mask_path", outcome=pl.lit("lesion")
        ),
        "readings": whole.select(
            "sentence_id", "slice", reader=pl.lit("rules"), suvmax=pl.col("suvmax_reported"), n_lesions=pl.lit(1)
        ),
        "exams": pl.DataFrame([{"exam_id": "PX-0001", "tracer": "FDG", "suv_path": "SUV.nii", "ct_path": "CT.nii"}]),
    }


def open_in_chromium(index: Path) -> float | None:
    """Seconds from asking for the page to its cards being there and what is in view painted; None without Chromium."""
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        return None
    if not chromium or not driver_path:
        return None
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
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    try:
        driver.get("about:blank")
        start = time.perf_counter()
        driver.get(index.as_uri())
        driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )
        return time.perf_counter() - start
    finally:
        driver.quit()


if __name__ == "__main__":
    typer.run(main)
