"""Lesions whose masks are given: rows of a curation as all others, with their texts, splits and problems."""

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.dataset.samples import finding_samples
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.review.quality_checks import run_checks
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.support.curations import curate_small

AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])
AFFINE[0, 3] = -50.0
TEXT = "Hypermetabolic node in the left axilla with SUV max of 9.0 (slice 7)."
HEADER = ("exam_id", "mask", "label", "lesions", "text", "finding")


def body() -> np.ndarray:
    array = np.full((20, 20, 12), 0.01, dtype=np.float32)
    array[3:17, 3:17] = 1.0
    array[5:7, 8:10, 5:7] = 9.0
    array[12:14, 8:10, 5:7] = 7.0
    return array


def write_exam(cohort: Path, exam_id: str, labels: np.ndarray | None, affine: np.ndarray = AFFINE) -> None:
    folder = cohort / "exams" / exam_id
    folder.mkdir(parents=True)
    save_nifti(Volume(body(), AFFINE), folder / "SUV.nii.gz")
    if labels is not None:
        save_nifti(Volume(labels.astype(np.uint8), affine), folder / "SEG.nii.gz")


def write_tables(cohort: Path, given: list[tuple[str, ...]], reports: str = "") -> None:
    (cohort / "reports.csv").write_text(f"exam_id,patient_id,findings,split\n{reports}")
    with (cohort / "given_masks.csv").open("w") as file:
        csv.writer(file).writerows([HEADER, *((*row, *("",) * (6 - len(row))) for row in given)])


def two_lesions() -> np.ndarray:
    return (body() > 8) * 1 + ((body() > 6) & (body() < 8)) * 2


def lesions_of(lake: Lake) -> list[dict[str, object]]:
    return lake.read_table("lesions").sort("suvmax", descending=True, nulls_last=True).to_dicts()


class TestGivenMasks:
    @pytest.fixture(scope="class")
    def lake(self, tmp_path_factory: pytest.TempPathFactory) -> Lake:
        root = tmp_path_factory.mktemp("given")
        write_exam(root / "cohort", "E1", two_lesions())
        write_tables(
            root / "cohort", [("E1", "SEG.nii.gz", "1", "", TEXT), ("E1", "SEG.nii.gz", "2")], "E1,P1,,Validation\n"
        )
        return curate_small(Home(root / "home"), root / "cohort")

    def test_are_lesions_with_the_measures_of_their_masks(self, lake: Lake) -> None:
        rows = lesions_of(lake)
        assert [(r["suvmax"], round(r["mtv_ml"], 6), r["outcome"], r["mask_source"]) for r in rows] == [
            (9.0, 1.0, "lesion", "given"),
            (7.0, 1.0, "lesion", "given"),
        ]

    def test_have_the_fields_of_their_texts_or_a_sentence_of_their_measures(self, lake: Lake) -> None:
        given, composed = lake.read_table("findings").sort("text_source", descending=True).to_dicts()
        assert (given["sentence"], given["laterality"], given["suvmax_reported"], given["slice"]) == (
            TEXT,
            "left",
            9.0,
            7,
        )
        assert (given["text_source"], composed["text_source"]) == ("given", "composed")
        assert "SUVmax 7.0 in a given mask of 1.0 mL" in composed["sentence"]

    def test_need_no_report(self, lake: Lake) -> None:
        assert lake.read_table("exams")["report_message"].to_list() == [None]

    def test_pass_every_check_of_lesions(self, lake: Lake) -> None:
        results = [r for r in run_checks(Home(lake.root.parent), "lesions") if not r.passed]
        assert [r.name for r in results] == []

    def test_are_trained_on_where_they_have_a_text_in_the_split_of_their_set(self, lake: Lake) -> None:
        tables = (lake.read_table(name) for name in ("lesions", "findings", "exams"))
        samples = finding_samples(*tables)
        assert samples.select("split", "suvmax").rows() == [("val", 9.0)]
        assert "SUVmax: 9.0. Slice: 7." in samples["target"][0]

    def test_change_with_their_file_alone(self, lake: Lake, tmp_path: Path) -> None:
        before = lake.read_table("lesions")["row_key"].to_list()
        home = Home(lake.root.parent)
        again = curate_small(home, lake.root.parents[1] / "cohort")
        assert again.read_table("lesions")["row_key"].to_list() == before


class TestDivision:
    def test_by_components_whatever_their_value(self, tmp_path: Path) -> None:
        write_exam(tmp_path / "cohort", "E1", body() > 5)
        write_tables(tmp_path / "cohort", [("E1", "SEG.nii.gz")], "E1,P1,,\n")
        assert [r["suvmax"] for r in lesions_of(curate_small(Home(tmp_path / "home"), tmp_path / "cohort"))] == [9, 7]

    def test_whole_is_one_lesion_of_both_parts(self, tmp_path: Path) -> None:
        write_exam(tmp_path / "cohort", "E1", two_lesions())
        write_tables(tmp_path / "cohort", [("E1", "SEG.nii.gz", "", "whole", TEXT)])
        rows = lesions_of(curate_small(Home(tmp_path / "home"), tmp_path / "cohort"))
        assert [(r["suvmax"], r["n_voxels"]) for r in rows] == [(9.0, 16)]

    def test_a_mask_for_a_finding_replaces_its_grown_one(self, tmp_path: Path) -> None:
        write_exam(tmp_path / "cohort", "E1", body() > 0.5)
        write_tables(tmp_path / "cohort", [], f'E1,P1,"{TEXT}",\n')
        lake = curate_small(Home(tmp_path / "home"), tmp_path / "cohort")
        (before,) = lesions_of(lake)
        write_tables(
            tmp_path / "cohort", [("E1", "SEG.nii.gz", "", "", "", str(before["finding_id"]))], f'E1,P1,"{TEXT}",\n'
        )
        lake = curate_small(Home(tmp_path / "home"), tmp_path / "cohort")
        (after,) = lesions_of(lake)
        assert (before["mask_source"], after["mask_source"]) == ("grown", "corrected")
        assert (after["finding_id"], after["n_voxels"]) == (before["finding_id"], int((body() > 0.5).sum()))
        write_tables(tmp_path / "cohort", [], f'E1,P1,"{TEXT}",\n')
        (again,) = lesions_of(curate_small(Home(tmp_path / "home"), tmp_path / "cohort"))
        assert {k: v for k, v in again.items() if k != "row_key"} == {k: v for k, v in before.items() if k != "row_key"}


class TestWhatIsWrong:
    def test_each_fault_is_told_and_the_rest_is_curated(self, tmp_path: Path) -> None:
        shifted = AFFINE.copy()
        shifted[0, 3] += 5
        write_exam(tmp_path / "cohort", "E1", two_lesions())
        write_exam(tmp_path / "cohort", "E2", two_lesions(), shifted)
        write_exam(tmp_path / "cohort", "E3", np.zeros((20, 20, 12)))
        given = [
            *(("E1", "SEG.nii.gz", label, "", TEXT) for label in ("1", "9", "x")),
            *(("E1", "../E2/SEG.nii.gz"), ("E1", "none.nii.gz"), ("E1", "", "", "", TEXT)),
            *(("E2", "SEG.nii.gz"), ("E3", "SEG.nii.gz"), ("E4", "SEG.nii.gz")),
        ]
        write_tables(tmp_path / "cohort", given)
        lake = curate_small(Home(tmp_path / "home"), tmp_path / "cohort")
        exams = {row["exam_id"]: row for row in lake.read_table("exams").iter_rows(named=True)}
        for words in (
            *("expected label 9", "a whole number from 1", "leads out of it", "it is not there"),
            "a text without a mask",
        ):
            assert words in exams["E1"]["given_message"], words
        assert "up to 5 mm beside the PET's grid" in exams["E2"]["given_message"]
        assert "is empty" in exams["E3"]["given_message"]
        assert exams["E4"]["problem"] == "no exam folder"
        assert [(r["exam_id"], r["suvmax"]) for r in lesions_of(lake)] == [("E1", 9.0)]

    def test_overlapping_masks_name_each_other(self, tmp_path: Path) -> None:
        write_exam(tmp_path / "cohort", "E1", two_lesions())
        save_nifti(Volume((body() > 5).astype(np.uint8), AFFINE), tmp_path / "cohort" / "exams" / "E1" / "SEG_2.nii.gz")
        write_tables(tmp_path / "cohort", [("E1", "SEG.nii.gz"), ("E1", "SEG_2.nii.gz", "", "whole")])
        home = Home(tmp_path / "home")
        rows = curate_small(home, tmp_path / "cohort").read_table("lesions")
        assert rows["shares_with"].is_not_null().all()
        failed = [r.name for r in run_checks(home, "lesions") if not r.passed]
        assert failed == []
        assert pl.Series([r.name for r in run_checks(home, "lesions")]).is_in(["given_masks"]).any()
