"""Pages of whole exams on disk: which are written, kept and removed, and what they hold where room is short."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.imaging.volume import Volume, save_nifti
from pipelines.review.exam_pages import ExamSources, PagesSummary, page_of, write_exam_pages
from pipelines.settings import ReviewSettings
from pipelines.tables.home import Home
from tests.pipelines.review.test_packed_images import from_json

SPACING = (2.0, 2.0, 3.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two exams of noise with one lesion each; CT on a finer grid in the cohort, a copy on the PET's in the home."""
    rng = np.random.default_rng(1)
    for exam in ("E1", "E2"):
        suv = rng.uniform(0, 2, (60, 60, 40)).astype(np.float32)
        suv[30:34, 20:24, 10:14] = 411.234
        pet = Volume(suv, np.diag([*SPACING, 1.0]))
        save_nifti(pet, tmp_path / "volumes" / exam / "SUV.nii")
        save_nifti(Volume(np.full(suv.shape, 40, np.int16), pet.affine), tmp_path / "volumes" / exam / "CT.nii")
        save_nifti(pet, tmp_path / "cohort" / exam / "SUV.nii.gz")
        hu = rng.integers(0, 80, (120, 120, 40)).astype(np.int16)
        hu[:8] = -1000
        own = Volume(hu, np.diag([1.0, 1.0, 3.0, 1.0]))
        save_nifti(own, tmp_path / "cohort" / exam / "CT.nii.gz")
        box = pet.crop((slice(30, 34), slice(20, 24), slice(10, 14)))
        save_nifti(Volume(np.ones((4, 4, 4), np.uint8), box.affine), tmp_path / "masks" / f"{exam}.nii.gz")
    return Home(tmp_path)


def rows(*exams: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "exam_id": e,
                "finding_id": f"{e}:aa",
                "organ": "lung",
                "suvmax": 411.234,
                "mask_path": f"masks/{e}.nii.gz",
            }
            for e in exams
        ]
    ).with_columns(slice_k=pl.lit(None, pl.Int64))


def exams(**changes: object) -> pl.DataFrame:
    found = [
        {"exam_id": e, "row_key": "k", "suv_path": f"volumes/{e}/SUV.nii", "ct_path": f"volumes/{e}/CT.nii"}
        for e in ("E1", "E2")
    ]
    return pl.DataFrame([{**row, **changes} for row in found])


def write(home: Home, frame: pl.DataFrame, page_mb: float = 15.0, table: pl.DataFrame | None = None) -> PagesSummary:
    sources = ExamSources({e: home.root / "cohort" / e for e in ("E1", "E2")})
    settings = ReviewSettings(page_mb=page_mb)
    return write_exam_pages(home.gallery, frame, exams() if table is None else table, home, settings, sources)


def data(home: Home, exam: str) -> dict:
    text = (home.gallery / page_of(exam)).with_name("exam.js").read_text()
    return json.loads(text.removeprefix("const EXAM = ").removesuffix(";\n"))


class TestQueue:
    def test_a_page_is_kept_while_nothing_changes(self, home: Home) -> None:
        assert write(home, rows("E1", "E2")).written == 2
        again = write(home, rows("E1", "E2"))
        assert (again.written, again.reused) == (0, 2)

    def test_a_changed_finding_writes_its_exam_again(self, home: Home) -> None:
        write(home, rows("E1", "E2"))
        changed = rows("E1", "E2").with_columns(organ=pl.when(exam_id=pl.lit("E1")).then(pl.lit("liver")))
        assert write(home, changed.with_columns(organ=pl.col("organ").fill_null("lung"))).written == 1

    def test_an_exam_that_left_the_queue_loses_its_page(self, home: Home) -> None:
        write(home, rows("E1", "E2"))
        assert write(home, rows("E2")).removed == 1
        assert not (home.gallery / page_of("E1")).exists()
        assert (home.gallery / page_of("E2")).is_file()

    def test_an_exam_whose_volume_is_gone_is_named_and_the_others_written(self, home: Home) -> None:
        (home.root / "volumes" / "E1" / "SUV.nii").unlink()
        made = write(home, rows("E1", "E2"))
        assert made.written == 1
        assert list(made.failed) == ["E1"]
        assert not (home.gallery / page_of("E1")).exists()


class TestImages:
    def test_the_ct_is_on_the_grid_of_the_cohort(self, home: Home) -> None:
        write(home, rows("E1"))
        made = data(home, "E1")
        assert made["ct"]["shape"] == [120, 120, 40]
        assert made["ct"]["affine"][:4] == [1.0, 0.0, 0.0, 0.0]
        assert made["ct_note"] is None

    def test_without_the_cohort_the_copy_is_shown_and_said_to_be_one(self, home: Home) -> None:
        write_exam_pages(home.gallery, rows("E1"), exams(), home, ReviewSettings())
        made = data(home, "E1")
        assert made["ct"]["shape"] == [60, 60, 40]
        assert "on the PET's grid" in made["ct_note"]

    def test_another_ct_than_the_one_curated_is_not_shown(self, home: Home) -> None:
        table = exams(ct_n_slices=39, ct_first_mm=0.0, ct_step_mm=3.0)
        write(home, rows("E1"), table=table)
        assert data(home, "E1")["ct"]["shape"] == [60, 60, 40]

    def test_a_value_beyond_two_bytes_is_read_to_a_hundredth(self, home: Home) -> None:
        write(home, rows("E1"))
        pet = data(home, "E1")["pet"]
        assert from_json(pet)[31, 21, 11] * pet["step"] == pytest.approx(411.234, abs=0.0051)

    def test_a_page_without_the_room_averages_away_from_the_finding_alone(self, home: Home) -> None:
        table = exams().with_columns(ct_path=pl.lit(None, pl.String))
        write(home, rows("E1"), table=table)
        whole = data(home, "E1")["pet"]
        big = Volume(np.tile(from_json(whole).astype(np.float32) * whole["step"], (3, 3, 6)), np.diag([*SPACING, 1.0]))
        save_nifti(big, home.root / "volumes" / "E1" / "SUV.nii")
        (home.gallery / page_of("E1")).unlink()
        write(home, rows("E1"), page_mb=2.0, table=table)
        made = data(home, "E1")["pet"]
        values = from_json(made) * made["step"]
        assert made["block"] > 1
        assert np.abs(values - big.array)[28:36, 18:26, 8:16].max() <= 0.0051
        assert np.abs(values - big.array)[100:, 100:, 100:].max() > 0.1

    def test_a_ct_without_the_room_is_of_blocks(self, home: Home) -> None:
        rng = np.random.default_rng(2)
        hu = rng.integers(0, 500, (240, 240, 60)).astype(np.int16)
        hu[:8] = -1000
        save_nifti(Volume(hu, np.diag([0.5, 0.5, 2.0, 1.0])), home.root / "cohort" / "E1" / "CT.nii.gz")
        write(home, rows("E1"), page_mb=2.0)
        made = data(home, "E1")["ct"]
        assert made["block"][:2] == [2, 2]
        assert (home.gallery / page_of("E1")).with_name("exam.js").stat().st_size < 2e6
