"""Every check passes on a good curation and fails on the fault that it is there for."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines import schemas
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.lake import Lake
from pipelines.quality import checks
from pipelines.quality.result import MAX_SAMPLE_ROWS, CheckResult
from pipelines.sharding import shard_of

KEYS = {"exam_id": "E1", "patient_id": "P1", "row_key": "k"}
SHAPE, SPACING = (20, 16, 24), 3.0
AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = (-30.0, -24.0, 0.0)
# A 3 x 3 x 3 block on the left (x < 0), its hottest voxel in the middle.
BOX = ((2, 5), (6, 9), (10, 13))
PEAK = (3, 7, 11)


def exam(**changes: Any) -> dict[str, Any]:
    row = KEYS | {"shard": shard_of("P1"), "status": "ok", "n_slices": 24, "voxel_ml": 0.027, "suv_max": 8.0}
    row |= dict(zip(("shape_i", "shape_j", "shape_k"), SHAPE, strict=True)) | {
        f"spacing_{a}_mm": SPACING for a in "ijk"
    }
    return row | {"suv_path": "volumes/E1/SUV.nii", "ct_path": "volumes/E1/CT.nii", "has_ct": True} | changes


def sentence(**changes: Any) -> dict[str, Any]:
    row = {"sentence_id": "E1:a", "sentence": "Left node, SUVmax 8.0, slice 13.", "start": 0, "end": 30}
    return KEYS | row | {"is_candidate": True} | changes


def reading(**changes: Any) -> dict[str, Any]:
    row = {"sentence_id": "E1:a", "reader": "rules", "reader_version": "1", "sentence": "x", "slice": 13, "suvmax": 8.0}
    return KEYS | row | changes


def finding(**changes: Any) -> dict[str, Any]:
    row = {"finding_id": "E1:a", "sentence_id": "E1:a", "sentence": "Left node, SUVmax 8.0, slice 13.", "slice": 13}
    return KEYS | row | {"suvmax_reported": 8.0, "outcome": "accepted", "laterality": "left"} | changes


def localisation(**changes: Any) -> dict[str, Any]:
    row = KEYS | {"finding_id": "E1:a", "outcome": "lesion", "slice": 13, "slice_k": 11, "suvmax_reported": 8.0}
    row |= {"suvmax": 8.0, "suvmean": 5.0, "n_voxels": 27, "voxel_ml": 0.027, "mtv_ml": 0.729, "tlg": 3.645}
    row |= {"threshold_suv": 3.5, "background_suv": 1.0, "stop_reason": "converged", "touches_border": False}
    row |= {"mask_path": "masks/E1/a.nii.gz", "sentence": "Left node, SUVmax 8.0, slice 13."}
    for axis, (low, high), peak in zip("ijk", BOX, PEAK, strict=True):
        row |= {f"box_{axis}0": low, f"box_{axis}1": high, f"peak_{axis}": peak}
    for axis, x in zip("xyz", AFFINE[:3, :3] @ PEAK + AFFINE[:3, 3], strict=True):
        row |= {f"peak_{axis}_mm": float(x), f"centroid_{axis}_mm": float(x)}
    return row | changes


def sample(**changes: Any) -> dict[str, Any]:
    row = {"sample_id": "E1:a", "kind": "finding", "finding_id": "E1:a", "exam_id": "E1", "patient_id": "P1"}
    row |= {"split": "train", "question": "q", "target": "t", "suv_path": "s", "mask_path": "m", "mask_label": 1}
    return row | changes


MAKERS = {
    "exams": exam,
    "sentences": sentence,
    "readings": reading,
    "findings": finding,
    "localisations": localisation,
    "samples": sample,
}


def frame(table: str, *changes: dict[str, Any]) -> pl.DataFrame:
    """Rows of a table, each a good one with changes; one good row where there are none."""
    return schemas.frame(table, [MAKERS[table](**c) for c in changes or ({},)])


def suv() -> np.ndarray:
    array = np.ones(SHAPE, np.float32)
    array[tuple(slice(*edge) for edge in BOX)] = 5.0
    array[PEAK] = 8.0
    return array


def write_mask(
    home: Path, array: np.ndarray, name: str = "a", corner: tuple[float, ...] = tuple(b[0] for b in BOX)
) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] += SPACING * np.array(corner)
    save_nifti(Volume(array.astype(np.uint8), affine), home / "masks" / "E1" / f"{name}.nii.gz")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Files of one exam with one lesion."""
    (tmp_path / "volumes" / "E1").mkdir(parents=True)
    (tmp_path / "masks" / "E1").mkdir(parents=True)
    save_nifti(Volume(suv(), AFFINE), tmp_path / "volumes" / "E1" / "SUV.nii")
    save_nifti(Volume(np.zeros(SHAPE, np.int16), AFFINE), tmp_path / "volumes" / "E1" / "CT.nii")
    write_mask(tmp_path, np.ones((3, 3, 3)))
    return tmp_path


class TestAllChecks:
    def test_good_curation_passes_every_one(self, home: Path) -> None:
        lake = Lake(home / "lake")
        for table in schemas.SHARDED:
            lake.write_shard(table, shard_of("P1"), frame(table), {})
        lake.write_table("samples", frame("samples"))
        results = checks.run_checks(home)
        assert [(r.name, r.sample.rows()) for r in results if not r.passed] == []
        unneeded = ["overlaps", "quarantine", "yield_drift", "reject_drift"]
        assert [r.name for r in results if r.n_checked == 0] == unneeded

    def test_empty_curation_passes_every_one(self, tmp_path: Path) -> None:
        assert [r.name for r in checks.run_checks(tmp_path) if not r.passed] == []

    def test_every_function_is_registered(self) -> None:
        functions = {n.removeprefix("check_") for n in vars(checks) if n.startswith("check_")}
        assert functions == {check.name for check in checks.CHECKS}

    def test_severity_of_the_registry_is_that_of_the_result(self, tmp_path: Path) -> None:
        results = checks.run_checks(tmp_path)
        assert [r.severity for r in results] == [c.severity for c in checks.CHECKS]

    def test_sample_is_capped_and_the_count_exact(self) -> None:
        rows = [{"exam_id": f"E{i}", "status": "problem", "problem": "failed", "message": "m"} for i in range(30)]
        result = checks.check_failed_exams(frame("exams", *rows))
        assert (result.n_bad, result.sample.height) == (30, MAX_SAMPLE_ROWS)


def fails(result: CheckResult, words: str = "") -> bool:
    """The check fails on one row, and says the words of it."""
    return not result.passed and result.n_bad == 1 and words in str(result.sample.rows())


class TestExams:
    def test_failed_exam(self) -> None:
        bad = {"status": "problem", "problem": "failed", "message": "out of memory"}
        assert fails(checks.check_failed_exams(frame("exams", {}, bad)), "out of memory")

    def test_too_few_usable_exams(self) -> None:
        bad = {"status": "problem", "problem": "no PET series", "message": "m"}
        assert fails(checks.check_usable_exams(frame("exams", bad)))
        assert checks.check_usable_exams(frame("exams", bad, {}, {})).passed

    def test_odd_report(self) -> None:
        bad = {"report_message": "exam id comes 2 times with different reports"}
        assert fails(checks.check_reports(frame("exams", {}, bad)), "2 times")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"spacing_i_mm": 0.1}, "spacing outside"),
            ({"spacing_k_mm": 30.0}, "spacing outside"),
            ({"voxel_ml": 0.05}, "not the product"),
            ({"n_slices": 1}, "fewer than 2"),
        ],
    )
    def test_geometry(self, change: dict[str, Any], words: str) -> None:
        assert fails(checks.check_geometry(frame("exams", {}, change)), words)

    @pytest.mark.parametrize("suv_max", [3.0, 20_000.0])
    def test_suv_range(self, suv_max: float) -> None:
        assert fails(checks.check_suv_range(frame("exams", {}, {"suv_max": suv_max})), "largest SUV")

    def test_ct_of_another_shape(self, home: Path) -> None:
        save_nifti(Volume(np.zeros((4, 4, 4), np.int16), AFFINE), home / "volumes" / "E1" / "CT.nii")
        assert fails(checks.check_ct_grid(frame("exams"), home), "CT (4, 4, 4)")

    def test_ct_at_another_place(self, home: Path) -> None:
        moved = AFFINE + np.array([[0, 0, 0, 5.0], *np.zeros((3, 4))])
        save_nifti(Volume(np.zeros(SHAPE, np.int16), moved), home / "volumes" / "E1" / "CT.nii")
        assert fails(checks.check_ct_grid(frame("exams"), home), "affines")

    @pytest.mark.parametrize(("value", "words"), [(np.nan, "no finite"), (-1.0, "negative"), (50.0, "row says 8.000")])
    def test_suv_values(self, home: Path, value: float, words: str) -> None:
        array = suv()
        array[0, 0, 0] = value
        save_nifti(Volume(array, AFFINE), home / "volumes" / "E1" / "SUV.nii")
        assert fails(checks.check_suv_values(frame("exams"), home), words)

    def test_unreadable_volume(self, home: Path) -> None:
        (home / "volumes" / "E1" / "SUV.nii").write_bytes(b"no image")
        assert fails(checks.check_suv_values(frame("exams"), home), "can not be read")
        assert fails(checks.check_ct_grid(frame("exams"), home), "can not be read")

    @pytest.mark.parametrize("path", ["volumes/E1/SUV.nii", "volumes/E1/CT.nii", "masks/E1/a.nii.gz"])
    def test_missing_file(self, home: Path, path: str) -> None:
        (home / path).unlink()
        assert fails(checks.check_files(frame("exams"), frame("localisations"), home), path)

    def test_empty_file(self, home: Path) -> None:
        (home / "masks/E1/a.nii.gz").write_bytes(b"")
        assert fails(checks.check_files(frame("exams"), frame("localisations"), home), "masks/E1/a.nii.gz")


class TestReports:
    def test_candidate_without_outcome(self) -> None:
        sentences = frame("sentences", {}, {"sentence_id": "E1:b"}, {"sentence_id": "E1:c", "is_candidate": False})
        assert fails(checks.check_every_candidate(sentences, frame("findings")), "E1:b")

    def test_finding_said_twice(self) -> None:
        again = {"finding_id": "E1:a#2", "sentence": "left  NODE, SUVmax 8.0, slice 13."}
        result = checks.check_duplicates(frame("findings", {}, again))
        assert (result.passed, result.n_bad) == (False, 2)
        assert checks.check_duplicates(frame("findings", {}, again | {"outcome": "said twice"})).passed

    def test_reader_that_fails_often(self) -> None:
        rows = [{"sentence_id": f"E1:{i}", "error": "timeout" if i < 3 else None} for i in range(10)]
        assert fails(checks.check_reader_errors(frame("readings", *rows)), "timeout")
        assert checks.check_reader_errors(frame("readings", *rows[3:])).passed

    def test_accepted_and_never_looked_for(self) -> None:
        findings = frame("findings", {}, {"finding_id": "E1:b"})
        assert fails(checks.check_all_localised(findings, frame("localisations")), "never looked for")

    def test_looked_for_and_not_accepted(self) -> None:
        findings = frame("findings", {"outcome": "template"})
        assert fails(checks.check_all_localised(findings, frame("localisations")), "not accepted")


class TestLesions:
    def test_suvmax_off(self) -> None:
        assert fails(checks.check_suvmax(frame("localisations", {}, {"suvmax": 8.2})))
        assert checks.check_suvmax(frame("localisations", {"suvmax": 8.1})).passed

    def test_slice_not_reached(self) -> None:
        assert fails(checks.check_slice(frame("localisations", {}, {"slice_k": 13})), "does not reach")

    def test_peak_outside_its_box(self) -> None:
        assert fails(checks.check_slice(frame("localisations", {}, {"peak_j": 9})), "along j")

    @pytest.mark.parametrize(
        ("side", "x", "passes"), [("left", 40.0, False), ("right", -40.0, False), ("left", 5.0, True)]
    )
    def test_sides(self, side: str, x: float, passes: bool) -> None:
        found = frame("localisations", {"centroid_x_mm": x})
        assert checks.check_sides(found, frame("findings", {"laterality": side})).passed == passes

    @pytest.mark.parametrize("side", ["bilateral", "midline", None])
    def test_sides_of_what_has_none(self, side: str | None) -> None:
        result = checks.check_sides(frame("localisations"), frame("findings", {"laterality": side}))
        assert (result.passed, result.n_checked) == (True, 0)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"mtv_ml": 5000.0}, "volume over"),
            ({"threshold_suv": 7.9}, "threshold outside"),
            ({"background_suv": 4.0}, "background over"),
            ({"stop_reason": "leak"}, "did not converge"),
        ],
    )
    def test_ranges(self, change: dict[str, Any], words: str) -> None:
        assert fails(checks.check_ranges(frame("localisations", {}, change)), words)

    def test_border(self) -> None:
        assert fails(checks.check_border(frame("localisations", {}, {"touches_border": True})))

    def test_shared_peak_unsaid(self) -> None:
        both = [{"shares_with": "E1:b"}, {"finding_id": "E1:b", "shares_with": "E1:a"}]
        assert checks.check_shared_peaks(frame("localisations", *both)).passed
        assert fails(checks.check_shared_peaks(frame("localisations", both[0], {"finding_id": "E1:b"})), "E1:b")

    def test_what_is_no_lesion_is_not_checked(self, home: Path) -> None:
        missed = frame("localisations", {"outcome": "ambiguous", "mask_path": None, "suvmax": 99.0, "slice_k": 0})
        results = [checks.check_suvmax(missed), checks.check_slice(missed), checks.check_ranges(missed)]
        results.append(checks.check_masks(missed, frame("exams"), home))
        assert [(r.passed, r.n_checked) for r in results] == [(True, 0)] * 4


class TestMasks:
    def fault(self, home: Path, **changes: Any) -> str:
        result = checks.check_masks(frame("localisations", changes), frame("exams"), home)
        assert not result.passed
        return str(result.sample["reason"][0])

    def test_missing(self, home: Path) -> None:
        (home / "masks/E1/a.nii.gz").unlink()
        assert "can not be read" in self.fault(home)

    def test_empty(self, home: Path) -> None:
        write_mask(home, np.zeros((3, 3, 3)))
        assert "empty" in self.fault(home)

    def test_other_number_of_voxels(self, home: Path) -> None:
        assert "27 voxels, row says 30" in self.fault(home, n_voxels=30)

    def test_components_that_touch_by_an_edge_only(self, home: Path) -> None:
        array = np.zeros((3, 3, 3))
        array[0, 0, 0] = array[1, 1, 0] = 1
        write_mask(home, array)
        assert "2 components" in self.fault(home, n_voxels=2)

    def test_peak_elsewhere(self, home: Path) -> None:
        assert "peak" in self.fault(home, peak_i=10)

    def test_hottest_voxel_of_another_value(self, home: Path) -> None:
        assert "8.00 SUV, row says 7.50" in self.fault(home, suvmax=7.5)

    def test_off_the_grid(self, home: Path) -> None:
        write_mask(home, np.ones((3, 3, 3)), corner=(2.5, 6, 10))
        assert "grid" in self.fault(home)

    def test_outside_the_volume(self, home: Path) -> None:
        write_mask(home, np.ones((3, 3, 3)), corner=(18, 6, 10))
        assert "outside" in self.fault(home)

    def test_volume_gone(self, home: Path) -> None:
        (home / "volumes/E1/SUV.nii").unlink()
        assert "volume can not be read" in self.fault(home)


class TestOverlaps:
    def test_voxels_in_common(self, home: Path) -> None:
        write_mask(home, np.ones((3, 3, 3)), "b", (4, 8, 12))
        other = {"finding_id": "E1:b", "mask_path": "masks/E1/b.nii.gz"}
        other |= {"box_i0": 4, "box_i1": 7, "box_j0": 8, "box_j1": 11, "box_k0": 12, "box_k1": 15}
        result = checks.check_overlaps(frame("localisations", {}, other), home)
        assert result.sample.rows() == [("E1", "E1:a", "E1:b", 1)]
        assert checks.check_overlaps(frame("localisations", {"shares_with": "E1:b"}, other), home).passed

    def test_boxes_that_meet_without_common_voxels(self, home: Path) -> None:
        array = np.ones((3, 3, 3))
        array[0, 0, 0] = 0
        write_mask(home, array, "b", (4, 8, 12))
        other = {"finding_id": "E1:b", "mask_path": "masks/E1/b.nii.gz"}
        other |= {"box_i0": 4, "box_i1": 7, "box_j0": 8, "box_j1": 11, "box_k0": 12, "box_k1": 15}
        result = checks.check_overlaps(frame("localisations", {}, other), home)
        assert (result.passed, result.n_checked) == (True, 1)


class TestSamplesAndLake:
    def test_patient_in_two_splits(self) -> None:
        assert fails(checks.check_splits(frame("samples", {}, {"split": "test"})), "test, train")

    def test_sample_whose_lesion_is_gone(self) -> None:
        samples = frame(
            "samples", {}, {"sample_id": "E1:b", "finding_id": "E1:b"}, {"kind": "anatomy", "finding_id": None}
        )
        assert fails(checks.check_samples(samples, frame("localisations")), "E1:b")

    def test_quarantined_row(self) -> None:
        row = {"table": "exams", "shard": "03", "rules": "suv_max|min", "exam_id": "E1", "row_json": "{}"}
        assert fails(checks.check_quarantine(schemas.frame("quarantine", [row])), "suv_max|min")
