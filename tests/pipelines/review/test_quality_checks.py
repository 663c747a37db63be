"""Every check passes on a good curation and fails on the fault that it is there for."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.catalog.build import build_catalog
from pipelines.imaging.volume import Volume, load_nifti, save_nifti
from pipelines.review import quality_checks
from pipelines.review.quality_check_result import MAX_SAMPLE_ROWS, CheckResult
from pipelines.settings import ProjectSettings, QualitySettings
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of

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
    row |= {"mention": 1} | dict.fromkeys(("passage_id", "sentence_ids", "passage_sentence_ids"), "E1:a")
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


def calibration(**changes: Any) -> dict[str, Any]:
    row = KEYS | {"suv_scale": 1.0, "slice_offset": 0, "origin": "head", "slice_grid": "pet", "value_noise": 0.002}
    row |= {"rounding": "round", "slice_spread": "exact", "calibration_source": "cohort", "calibration_support": 3}
    return row | changes


def sample(**changes: Any) -> dict[str, Any]:
    row = {"sample_id": "E1:a", "kind": "finding", "finding_id": "E1:a", "exam_id": "E1", "patient_id": "P1"}
    row |= {"split": "train", "question": "q", "target": "t", "suv_path": "s", "mask_path": "m", "mask_label": 1}
    return row | changes


def lesion_link(**changes: Any) -> dict[str, Any]:
    row = KEYS | {"link_id": "E1|E0:a|E1:a", "prior_exam_id": "E0", "finding_id": "E1:a", "prior_finding_id": "E0:a"}
    row |= {"tracked_as": "E0:a", "state": "persisting", "distance_mm": 3.0, "comparison": "increased", "days": 90}
    return row | {"suvmax_change_percent": 40.0} | changes


MAKERS = {
    "exams": exam,
    "sentences": sentence,
    "readings": reading,
    "findings": finding,
    "calibration": calibration,
    "lesions": localisation,
    "samples": sample,
    "lesion_links": lesion_link,
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
    home: Home, array: np.ndarray, name: str = "a", corner: tuple[float, ...] = tuple(b[0] for b in BOX)
) -> None:
    affine = AFFINE.copy()
    affine[:3, 3] += SPACING * np.array(corner)
    save_nifti(Volume(array.astype(np.uint8), affine), home.root / "masks" / "E1" / f"{name}.nii.gz")


SETTINGS = ProjectSettings()


def write_lake(home: Home, **changes: list[dict[str, Any]]) -> None:
    """The lake of a home: every table with one good row, or with a row for each of the changes."""
    lake = Lake(home.root / "lake")
    for table in MAKERS:
        rows = frame(table, *changes.get(table, []))
        if table in schemas.SHARDED:
            lake.write_shard(table, shard_of("P1"), rows, {})
        else:
            lake.write_table(table, rows)
    observe(home, days_ago=1)


def observe(home: Home, days_ago: float) -> None:
    """The cohort as last observed so many days ago."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    (home.root / "manifest").mkdir(exist_ok=True)
    observed = {"observed_at": at.isoformat(), "newest_file_at": at.isoformat(), "n_exams": 1}
    (home.root / "manifest" / "observed.json").write_text(json.dumps(observed))


def quarantine(home: Home) -> None:
    """A row that breaks its contract."""
    Lake(home.root / "lake").write_shard(
        "exams", shard_of("P1"), frame("exams", {"exam_id": "E2", "suv_max": -1.0}), {}
    )


def drift(home: Home, outcome: str) -> None:
    """Two versions of a curation, the second of which rejects what was a lesion for a reason."""
    names = [{"finding_id": f"E1:{n}", "sentence_id": f"E1:{n}"} for n in range(40)]
    for reason in ("lesion", outcome):
        write_lake(home, findings=names, lesions=[n | {"outcome": reason} for n in map(located, names)])
        build_catalog(home)


def located(names: dict[str, Any]) -> dict[str, Any]:
    return {"finding_id": names["finding_id"]}


PROBLEM = {"status": "problem", "problem": "no PET series", "message": "m", "exam_id": "E2"}
TWICE = [{}, {"finding_id": "E1:b", "sentence_id": "E1:b"}]
OTHER = {"finding_id": "E1:b", "mask_path": "masks/E1/b.nii.gz", "box_i0": 4, "box_i1": 7, "box_j0": 8, "box_j1": 11}
OTHER |= {"box_k0": 12, "box_k1": 15}


def overlap(home: Home) -> None:
    """A second lesion on a voxel of the first."""
    write_mask(home, np.ones((3, 3, 3)), "b", (4, 8, 12))
    write_lake(home, lesions=[{}, OTHER])


def found(home: Home) -> None:
    """A name in a report."""
    row = {"exam_id": "E1", "patient_id": "P1", "kind": "name", "n": 1, "is_masked": False}
    Lake(home.root / "lake").write_table("identifiers", schemas.frame("identifiers", [row]))


def negative(home: Home) -> None:
    """A volume whose file changed for the worse."""
    save_nifti(Volume(suv() - 2, AFFINE), home.root / "volumes" / "E1" / "SUV.nii")


BREAK: dict[str, Callable[[Path], Any]] = {
    "freshness": lambda home: observe(home, days_ago=30),
    "failed_exams": lambda home: write_lake(home, exams=[PROBLEM | {"status": "failed", "problem": "failed"}]),
    "usable_exams": lambda home: write_lake(home, exams=[PROBLEM]),
    "reports": lambda home: write_lake(home, exams=[{"report_message": "comes twice"}]),
    "geometry": lambda home: write_lake(home, exams=[{"spacing_i_mm": 30.0}]),
    "suv_range": lambda home: write_lake(home, exams=[{"suv_max": 2.0}]),
    "uptake": lambda home: write_lake(home, exams=[{"uptake_s": 26_000.0, "half_life_s": 6586.2}]),
    "ct_grid": lambda home: save_nifti(Volume(np.zeros((4, 4, 4)), AFFINE), home.root / "volumes" / "E1" / "CT.nii"),
    "suv_values": negative,
    "reader_errors": lambda home: write_lake(home, readings=[{"error": "timeout"}]),
    "every_candidate": lambda home: write_lake(home, sentences=[{}, {"sentence_id": "E1:b"}]),
    "duplicates": lambda home: write_lake(home, findings=TWICE),
    "all_localised": lambda home: write_lake(home, findings=TWICE),
    "files": lambda home: (home.root / "masks" / "E1" / "a.nii.gz").unlink(),
    "suvmax": lambda home: write_lake(home, lesions=[{"suvmax": 9.0}]),
    "given_masks": lambda home: write_lake(home, exams=[{"given_message": "the given mask SEG.nii.gz is empty"}]),
    "calibration": lambda home: write_lake(home, calibration=[{"suv_scale": 1.02}]),
    "report_and_image": lambda home: write_lake(
        home, lesions=[{"belongs_llr": -2.0}, {"finding_id": "E1:b", "belongs_llr": -2.0}]
    ),
    "exchanged_sides": lambda home: write_lake(home, lesions=[{"mirrored_llr": 9.0}]),
    "slice": lambda home: write_lake(home, lesions=[{"slice_k": 20}]),
    "sides": lambda home: write_lake(home, findings=[{"laterality": "right"}]),
    "ranges": lambda home: write_lake(home, lesions=[{"stop_reason": "leak"}]),
    "contradictions": lambda home: write_lake(home, lesions=[{"organs_met": "liver"}]),
    "border": lambda home: write_lake(home, lesions=[{"touches_border": True}]),
    "shared_peaks": lambda home: write_lake(home, lesions=TWICE_LOCATED),
    "masks": lambda home: write_mask(home, np.zeros((3, 3, 3))),
    "overlaps": overlap,
    "identifiers": found,
    "quarantine": quarantine,
    "yield_drift": lambda home: drift(home, "not in the image"),
    "reject_drift": lambda home: drift(home, "not in the image"),
    "splits": lambda home: write_lake(home, samples=[{}, {"sample_id": "E1:b", "split": "test"}]),
    "samples": lambda home: write_lake(home, lesions=[{"outcome": "ambiguous"}]),
    "courses": lambda home: write_lake(home, lesion_links=[{"suvmax_change_percent": -40.0}]),
}
TWICE_LOCATED = [{}, {"finding_id": "E1:b"}]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Files of one exam with one lesion."""
    (tmp_path / "volumes" / "E1").mkdir(parents=True)
    (tmp_path / "masks" / "E1").mkdir(parents=True)
    save_nifti(Volume(suv(), AFFINE), tmp_path / "volumes" / "E1" / "SUV.nii")
    save_nifti(Volume(np.zeros(SHAPE, np.int16), AFFINE), tmp_path / "volumes" / "E1" / "CT.nii")
    write_mask(Home(tmp_path), np.ones((3, 3, 3)))
    return Home(tmp_path)


class TestAllChecks:
    def test_good_curation_passes_every_one(self, home: Home) -> None:
        write_lake(home)
        results = quality_checks.run_checks(home)
        assert [(r.name, r.sample.rows()) for r in results if not r.passed] == []
        unneeded = [
            "given_masks",
            "report_and_image",
            "exchanged_sides",
            "overlaps",
            "identifiers",
            "quarantine",
            "yield_drift",
            "reject_drift",
        ]
        assert [r.name for r in results if r.n_checked == 0] == unneeded

    def test_empty_curation_passes_every_one(self, tmp_path: Path) -> None:
        assert [r.name for r in quality_checks.run_checks(Home(tmp_path)) if not r.passed] == []

    def test_every_function_is_registered(self) -> None:
        functions = {n.removeprefix("check_") for n in vars(quality_checks) if n.startswith("check_")}
        assert functions == {check.name for check in quality_checks.CHECKS}

    def test_severity_of_the_registry_is_that_of_the_result(self, tmp_path: Path) -> None:
        results = quality_checks.run_checks(Home(tmp_path))
        assert [r.severity for r in results] == [c.severity for c in quality_checks.CHECKS]

    def test_sample_is_capped_and_the_count_exact(self) -> None:
        rows = [{"exam_id": f"E{i}", "status": "failed", "problem": "failed", "message": "m"} for i in range(30)]
        result = quality_checks.check_failed_exams(frame("exams", *rows))
        assert (result.n_bad, result.sample.height) == (30, MAX_SAMPLE_ROWS)


class TestEveryCheck:
    """Each check of the registry, as Dagster runs it, passes on a good home and fails on one broken for it."""

    @pytest.mark.parametrize("check", quality_checks.CHECKS, ids=lambda check: check.name)
    def test_can_fail(self, home: Home, check: quality_checks.Check) -> None:
        write_lake(home)
        assert check.run(home, SETTINGS).passed
        BREAK[check.name](home)
        result = check.run(home, SETTINGS)
        assert not result.passed
        assert result.n_bad > 0
        assert result.sample.height > 0
        assert (result.name, result.severity) == (check.name, check.severity)

    @pytest.mark.parametrize("check", quality_checks.CHECKS, ids=lambda check: check.name)
    def test_has_a_remedy(self, check: quality_checks.Check) -> None:
        assert quality_checks.remedy_of(check.name)

    def test_is_broken_here(self) -> None:
        assert set(BREAK) == {check.name for check in quality_checks.CHECKS}


def fails(result: CheckResult, words: str = "") -> bool:
    """The check fails on one row, and says the words of it."""
    return not result.passed and result.n_bad == 1 and words in str(result.sample.rows())


class TestCalibration:
    def test_scale_that_is_off(self) -> None:
        assert fails(
            quality_checks.check_calibration(frame("calibration", {"suv_scale": 1.02}), frame("lesions")), "1.02"
        )

    def test_assumption_under_which_all_is_found(self) -> None:
        result = quality_checks.check_calibration(
            frame("calibration", {"calibration_source": "assumed"}), frame("lesions")
        )
        assert result.passed
        assert "assumed of 1 exams" in result.description

    @pytest.mark.parametrize("outcome", ["ambiguous", "not in the image", "exam not calibrated"])
    def test_assumption_under_which_a_finding_is_lost(self, outcome: str) -> None:
        lost = frame("lesions", {}, {"finding_id": "E1:b", "outcome": outcome})
        result = quality_checks.check_calibration(frame("calibration", {"calibration_source": "assumed"}), lost)
        assert fails(result, "assumed")

    def test_findings_against_it(self) -> None:
        result = quality_checks.check_calibration(
            frame("calibration", {"calibration_source": "none"}), frame("lesions")
        )
        assert fails(result, "speak against")


class TestExams:
    def test_failed_exam(self) -> None:
        bad = {"status": "failed", "problem": "failed", "message": "out of memory"}
        assert fails(quality_checks.check_failed_exams(frame("exams", {}, bad)), "out of memory")

    def test_too_few_usable_exams(self) -> None:
        bad = {"status": "problem", "problem": "no PET series", "message": "m"}
        assert fails(quality_checks.check_usable_exams(frame("exams", bad), 0.5))
        assert quality_checks.check_usable_exams(frame("exams", bad, {}, {}), 0.5).passed
        assert fails(quality_checks.check_usable_exams(frame("exams", bad, {}, {}), 0.2))

    def test_scan_long_after_the_injection(self) -> None:
        zirconium = {"uptake_s": 260_000.0, "half_life_s": 282_240.0}
        assert quality_checks.check_uptake(frame("exams", {}, zirconium)).passed
        assert fails(quality_checks.check_uptake(frame("exams", zirconium | {"half_life_s": 6586.2})), "3 half-lives")

    def test_odd_report(self) -> None:
        bad = {"report_message": "exam id comes 2 times with different reports"}
        assert fails(quality_checks.check_reports(frame("exams", {}, bad)), "2 times")

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
        assert fails(quality_checks.check_geometry(frame("exams", {}, change)), words)

    @pytest.mark.parametrize("suv_max", [3.0, 20_000.0])
    def test_suv_range(self, suv_max: float) -> None:
        assert fails(quality_checks.check_suv_range(frame("exams", {}, {"suv_max": suv_max})), "largest SUV")

    def test_ct_of_another_shape(self, home: Home) -> None:
        save_nifti(Volume(np.zeros((4, 4, 4), np.int16), AFFINE), home.root / "volumes" / "E1" / "CT.nii")
        assert fails(quality_checks.check_ct_grid(frame("exams"), home), "CT (4, 4, 4)")

    def test_ct_at_another_place(self, home: Home) -> None:
        moved = AFFINE + np.array([[0, 0, 0, 5.0], *np.zeros((3, 4))])
        save_nifti(Volume(np.zeros(SHAPE, np.int16), moved), home.root / "volumes" / "E1" / "CT.nii")
        assert fails(quality_checks.check_ct_grid(frame("exams"), home), "affines")

    @pytest.mark.parametrize(("value", "words"), [(np.nan, "no finite"), (-1.0, "negative"), (50.0, "row says 8.000")])
    def test_suv_values(self, home: Home, value: float, words: str) -> None:
        array = suv()
        array[0, 0, 0] = value
        save_nifti(Volume(array, AFFINE), home.root / "volumes" / "E1" / "SUV.nii")
        assert fails(quality_checks.check_suv_values(frame("exams"), home), words)

    def test_unreadable_volume(self, home: Home) -> None:
        (home.root / "volumes" / "E1" / "SUV.nii").write_bytes(b"no image")
        assert fails(quality_checks.check_suv_values(frame("exams"), home), "can not be read")
        assert fails(quality_checks.check_ct_grid(frame("exams"), home), "can not be read")

    @pytest.mark.parametrize("path", ["volumes/E1/SUV.nii", "volumes/E1/CT.nii", "masks/E1/a.nii.gz"])
    def test_missing_file(self, home: Home, path: str) -> None:
        (home.root / path).unlink()
        assert fails(quality_checks.check_files(frame("exams"), frame("lesions"), home), path)

    def test_empty_file(self, home: Home) -> None:
        (home.root / "masks/E1/a.nii.gz").write_bytes(b"")
        assert fails(quality_checks.check_files(frame("exams"), frame("lesions"), home), "masks/E1/a.nii.gz")


class TestReports:
    def test_candidate_without_outcome(self) -> None:
        sentences = frame("sentences", {}, {"sentence_id": "E1:b"}, {"sentence_id": "E1:c", "is_candidate": False})
        assert fails(quality_checks.check_every_candidate(sentences, frame("findings")), "E1:b")

    def test_finding_said_twice(self) -> None:
        again = {"finding_id": "E1:a#2", "sentence": "left  NODE, SUVmax 8.0, slice 13."}
        result = quality_checks.check_duplicates(frame("findings", {}, again))
        assert (result.passed, result.n_bad) == (False, 2)
        assert quality_checks.check_duplicates(frame("findings", {}, again | {"outcome": "said twice"})).passed

    def test_reader_that_fails_often(self) -> None:
        rows = [{"sentence_id": f"E1:{i}", "error": "timeout" if i < 3 else None} for i in range(10)]
        assert fails(quality_checks.check_reader_errors(frame("readings", *rows)), "timeout")
        assert quality_checks.check_reader_errors(frame("readings", *rows[3:])).passed

    def test_accepted_and_never_looked_for(self) -> None:
        findings = frame("findings", {}, {"finding_id": "E1:b"})
        assert fails(quality_checks.check_all_localised(findings, frame("lesions")), "never looked for")

    def test_looked_for_and_not_accepted(self) -> None:
        findings = frame("findings", {"outcome": "template"})
        assert fails(quality_checks.check_all_localised(findings, frame("lesions")), "not accepted")


class TestLesions:
    def test_suvmax_off(self) -> None:
        reported = {"suvmax_reported": 8.1}
        assert fails(quality_checks.check_suvmax(frame("lesions", reported | {"suvmax": 8.2})))
        assert quality_checks.check_suvmax(frame("lesions", reported | {"suvmax": 8.14})).passed

    def test_suvmax_is_compared_by_its_scale_digit_and_rounding(self) -> None:
        scaled = {"suvmax": 8.0, "suv_scale": 1.02, "suvmax_reported": 8.2}
        assert quality_checks.check_suvmax(frame("lesions", scaled)).passed
        assert quality_checks.check_suvmax(frame("lesions", {"suvmax": 8.4, "suvmax_reported": 8.0})).passed
        cut = {"suvmax": 8.19, "suvmax_reported": 8.1, "rounding": "cut"}
        assert quality_checks.check_suvmax(frame("lesions", cut)).passed
        assert fails(quality_checks.check_suvmax(frame("lesions", cut | {"rounding": "round"})))

    def test_what_a_person_picked_may_have_another_value(self) -> None:
        assert quality_checks.check_suvmax(frame("lesions", {"suvmax": 9.9, "evidence": "review"})).passed

    def test_slice_not_reached(self) -> None:
        assert fails(quality_checks.check_slice(frame("lesions", {}, {"slice_k": 19})), "mask ends more than")

    def test_peak_outside_its_box(self) -> None:
        assert fails(quality_checks.check_slice(frame("lesions", {}, {"peak_j": 9})), "along j")

    @pytest.mark.parametrize(
        ("side", "x", "passes"), [("left", 40.0, False), ("right", -40.0, False), ("left", 5.0, True)]
    )
    def test_sides(self, side: str, x: float, passes: bool) -> None:
        found = frame("lesions", {"centroid_x_mm": x})
        assert quality_checks.check_sides(found, frame("findings", {"laterality": side})).passed == passes

    @pytest.mark.parametrize(
        ("side", "x", "middle", "passes"),
        [
            ("left", 20.0, 45.0, True),  # left of a body that lies off axis
            ("right", -20.0, -45.0, True),
            ("right", 20.0, 45.0, True),  # right of the scanner's middle
            ("left", 60.0, 45.0, False),
            ("right", 400.0, 500.0, False),  # a file whose origin is no scanner's
        ],
    )
    def test_sides_of_a_body_off_axis(self, side: str, x: float, middle: float, passes: bool) -> None:
        found = frame("lesions", {"centroid_x_mm": x, "body_middle_mm": middle})
        assert quality_checks.check_sides(found, frame("findings", {"laterality": side})).passed == passes

    @pytest.mark.parametrize("side", ["bilateral", "midline", None])
    def test_sides_of_what_has_none(self, side: str | None) -> None:
        result = quality_checks.check_sides(frame("lesions"), frame("findings", {"laterality": side}))
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
        assert fails(quality_checks.check_ranges(frame("lesions", {}, change)), words)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"organs_met": "liver"}, "organ that the sentence does not name"),
            ({"size_ratio": 2.5}, "size in the sentence"),
            ({"size_ratio": 0.4}, "size in the sentence"),
            ({"mtv_ml": 19.0, "neighbour_ml": 52.0}, "no finding names it"),
        ],
    )
    def test_contradictions(self, change: dict[str, Any], words: str) -> None:
        assert fails(quality_checks.check_contradictions(frame("lesions", change)), words)
        agreed = {"organs_met": "", "size_ratio": 1.2}
        assert quality_checks.check_contradictions(frame("lesions", {}, agreed)).passed

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"comparison": "new"}, "said to be new"),
            ({"comparison": "decreased"}, "its SUVmax rose"),
            ({"comparison": "stable"}, "its SUVmax changed"),
            ({"suvmax_change_percent": -35.0}, "its SUVmax fell"),
            ({"state": "new", "prior_finding_id": None, "comparison": "stable"}, "but it is new"),
        ],
    )
    def test_courses(self, change: dict[str, Any], words: str) -> None:
        assert fails(quality_checks.check_courses(frame("lesion_links", change)), words)
        agreed = [{}, {"comparison": "stable", "suvmax_change_percent": 12.0}, {"comparison": "none"}]
        assert quality_checks.check_courses(frame("lesion_links", *agreed)).passed

    def test_border(self) -> None:
        assert fails(quality_checks.check_border(frame("lesions", {}, {"touches_border": True})))

    def test_shared_peak_unsaid(self) -> None:
        both = [{"shares_with": "E1:b"}, {"finding_id": "E1:b", "shares_with": "E1:a"}]
        assert quality_checks.check_shared_peaks(frame("lesions", *both)).passed
        assert fails(quality_checks.check_shared_peaks(frame("lesions", both[0], {"finding_id": "E1:b"})), "E1:b")

    def test_what_is_no_lesion_is_not_checked(self, home: Home) -> None:
        missed = frame("lesions", {"outcome": "ambiguous", "mask_path": None, "suvmax": 99.0, "slice_k": 0})
        results = [
            quality_checks.check_suvmax(missed),
            quality_checks.check_slice(missed),
            quality_checks.check_ranges(missed),
        ]
        results.append(quality_checks.check_masks(missed, frame("exams"), home))
        assert [(r.passed, r.n_checked) for r in results] == [(True, 0)] * 4


class TestMasks:
    def fault(self, home: Home, **changes: Any) -> str:
        result = quality_checks.check_masks(frame("lesions", changes), frame("exams"), home)
        assert not result.passed
        return str(result.sample["reason"][0])

    def test_missing(self, home: Home) -> None:
        (home.root / "masks/E1/a.nii.gz").unlink()
        assert "can not be read" in self.fault(home)

    def test_empty(self, home: Home) -> None:
        write_mask(home, np.zeros((3, 3, 3)))
        assert "empty" in self.fault(home)

    def test_other_number_of_voxels(self, home: Home) -> None:
        assert "27 voxels, row says 30" in self.fault(home, n_voxels=30)

    def test_components_that_touch_by_an_edge_only(self, home: Home) -> None:
        array = np.zeros((3, 3, 3))
        array[0, 0, 0] = array[1, 1, 0] = 1
        write_mask(home, array)
        assert "2 components" in self.fault(home, n_voxels=2)

    def test_peak_elsewhere(self, home: Home) -> None:
        assert "peak" in self.fault(home, peak_i=10)

    def test_hottest_voxel_of_another_value(self, home: Home) -> None:
        assert "8.00 SUV, row says 7.50" in self.fault(home, suvmax=7.5)

    def test_off_the_grid(self, home: Home) -> None:
        write_mask(home, np.ones((3, 3, 3)), corner=(2.5, 6, 10))
        assert "grid" in self.fault(home)

    def test_outside_the_volume(self, home: Home) -> None:
        write_mask(home, np.ones((3, 3, 3)), corner=(18, 6, 10))
        assert "outside" in self.fault(home)

    def test_volume_gone(self, home: Home) -> None:
        (home.root / "volumes/E1/SUV.nii").unlink()
        assert "volume can not be read" in self.fault(home)


class TestOverlaps:
    def test_voxels_in_common(self, home: Home) -> None:
        write_mask(home, np.ones((3, 3, 3)), "b", (4, 8, 12))
        other = {"finding_id": "E1:b", "mask_path": "masks/E1/b.nii.gz"}
        other |= {"box_i0": 4, "box_i1": 7, "box_j0": 8, "box_j1": 11, "box_k0": 12, "box_k1": 15}
        result = quality_checks.check_overlaps(frame("lesions", {}, other), home)
        assert result.sample.rows() == [("E1", "E1:a", "E1:b", 1)]
        assert quality_checks.check_overlaps(frame("lesions", {"shares_with": "E1:b"}, other), home).passed

    def test_boxes_that_meet_without_common_voxels(self, home: Home) -> None:
        array = np.ones((3, 3, 3))
        array[0, 0, 0] = 0
        write_mask(home, array, "b", (4, 8, 12))
        other = {"finding_id": "E1:b", "mask_path": "masks/E1/b.nii.gz"}
        other |= {"box_i0": 4, "box_i1": 7, "box_j0": 8, "box_j1": 11, "box_k0": 12, "box_k1": 15}
        result = quality_checks.check_overlaps(frame("lesions", {}, other), home)
        assert (result.passed, result.n_checked) == (True, 1)


class TestSamplesAndLake:
    def test_patient_in_two_splits(self) -> None:
        assert fails(quality_checks.check_splits(frame("samples", {}, {"split": "test"})), "test, train")

    def test_sample_whose_lesion_is_gone(self) -> None:
        samples = frame(
            "samples", {}, {"sample_id": "E1:b", "finding_id": "E1:b"}, {"kind": "anatomy", "finding_id": None}
        )
        assert fails(quality_checks.check_samples(samples, frame("lesions")), "E1:b")

    def test_quarantined_row(self) -> None:
        row = {"table": "exams", "shard": "03", "rules": "suv_max|min", "exam_id": "E1", "row_json": "{}"}
        assert fails(quality_checks.check_quarantine(schemas.frame("quarantine", [row])), "suv_max|min")

    def test_identifiers_that_are_put_up_with(self, home: Home) -> None:
        found(home)
        table = Lake(home.root / "lake").read_table("identifiers")
        assert fails(quality_checks.check_identifiers(table), "name")
        assert quality_checks.check_identifiers(table, most=1).passed


class TestLooks:
    """Checks that open files open what changed since they were last right, and nothing else."""

    OPENING = ("ct_grid", "suv_values", "masks", "overlaps")

    @pytest.fixture
    def opened(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the files that are opened from here on."""
        write_mask(home, np.ones((3, 3, 3)), "b", (4, 8, 12))
        write_mask(home, np.ones((3, 3, 3)), "a")
        write_lake(home, lesions=[{}, OTHER | {"peak_i": 5, "peak_j": 9, "peak_k": 13, "shares_with": None}])
        names: list[str] = []

        def load(path: Path) -> Volume:
            names.append(path.name)
            return load_nifti(path)

        monkeypatch.setattr(quality_checks, "load_nifti", load)
        monkeypatch.setattr(quality_checks, "load_mask", load)
        return names

    def run(self, home: Home, **settings: Any) -> dict[str, quality_checks.CheckResult]:
        results = quality_checks.run_checks(home, settings=ProjectSettings(quality=QualitySettings(**settings)))
        return {r.name: r for r in results if r.name in self.OPENING}

    def test_a_second_run_opens_none_that_was_right(self, home: Home, opened: list[str]) -> None:
        write_lake(home)
        first = self.run(home)
        assert sorted(set(opened)) == ["CT.nii", "SUV.nii", "a.nii.gz"]
        opened.clear()
        second = self.run(home)
        assert opened == []
        assert [r.n_opened for r in second.values()] == [0, 0, 0, 0]
        assert [r.n_checked for r in second.values()] == [r.n_checked for r in first.values()]

    def test_what_is_wrong_is_opened_and_told_every_time(self, home: Home, opened: list[str]) -> None:
        first = self.run(home)
        again = self.run(home)
        assert not first["overlaps"].passed
        assert again["overlaps"].sample.rows() == first["overlaps"].sample.rows()
        assert again["overlaps"].n_opened == 1

    def test_a_file_damaged_later_is_found(self, home: Home, opened: list[str]) -> None:
        write_lake(home)
        assert self.run(home)["suv_values"].passed
        path = home.root / "volumes" / "E1" / "SUV.nii"
        before = path.stat()
        data = bytearray(path.read_bytes())
        data[-4:] = np.float32(-9).tobytes()
        path.write_bytes(bytes(data))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert path.stat().st_size == before.st_size
        opened.clear()
        assert fails(self.run(home)["suv_values"], "negative SUV -9")
        assert "CT.nii" in opened  # Its grid is compared with the PET's, which changed.

    def test_a_row_that_changed_is_looked_at_again(self, home: Home, opened: list[str]) -> None:
        write_lake(home)
        self.run(home)
        write_lake(home, lesions=[{"suvmax": 7.5}])
        assert fails(self.run(home)["masks"], "8.00 SUV, row says 7.50")

    def test_everything_is_opened_again_on_demand(self, home: Home, opened: list[str]) -> None:
        write_lake(home)
        self.run(home)
        assert [r.n_opened for r in self.run(home, reopen_all=True).values()] == [1, 1, 1, 0]

    def test_a_damaged_memory_costs_one_look(self, home: Home, opened: list[str]) -> None:
        write_lake(home)
        self.run(home)
        (home.root / "checked" / "masks.parquet").write_bytes(b"PAR1")
        assert self.run(home)["masks"].n_opened == 1
        assert self.run(home)["masks"].n_opened == 0
