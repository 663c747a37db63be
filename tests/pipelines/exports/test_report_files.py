"""Draft reports of a small phantom: files of each exam, DICOM that a validator accepts, values that are the table's."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import polars as pl
import pydicom
import pytest

from pipelines.exports.fhir_report import check_bundle
from pipelines.exports.report_files import NO_DICOM, ReportError, ReportTables, update_reports
from pipelines.exports.viewer_files import LABELMAP_NAME, SEG_NAME, export_lesions
from pipelines.settings import ExportSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

SETTINGS = ExportSettings(nifti=False)


@pytest.fixture(scope="session")
def written(curated: Home, small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("reports") / "home")
    shutil.copytree(curated.root, home.root)
    export_lesions(home, small_cohort / "exams", SETTINGS)
    update_reports(home, small_cohort / "exams", SETTINGS)
    return home


def exams_by(home: Home, source: str) -> list[str]:
    located = Lake(home.lake).read_table("lesions").filter(pl.col("outcome") == "lesion")["exam_id"].unique()
    found = Lake(home.lake).read_table("exams").filter(pl.col("source") == source, pl.col("exam_id").is_in(located))
    return sorted(found["exam_id"])


def measured(group: Any) -> dict[str, float]:
    """Values of a group by what they are, as the columns of `lesions` are named."""
    names = {
        ("SUVbw", "Maximum"): "suvmax",
        ("SUVbw", "Mean"): "suvmean",
        ("SUVbw", "Peak Value Within ROI"): "suvpeak",
    }
    names |= {("Metabolic Volume", ""): "mtv_ml", ("Total Lesion Glycolysis", ""): "tlg"}
    return {
        names[one.name.meaning, one.derivation.meaning if one.derivation else ""]: float(one.value)
        for one in group.get_measurements()
    }


class TestStructuredReport:
    def test_holds_the_values_of_the_table(self, written: Home) -> None:
        rows = {row["finding_id"]: row for row in Lake(written.lake).read_table("lesions").iter_rows(named=True)}
        (exam_id,) = exams_by(written, "dicom")
        document = highdicom.sr.srread(written.exam_reports / exam_id / "report.dcm")
        groups = document.content.get_volumetric_roi_measurement_groups()
        assert {group.tracking_identifier for group in groups} == {
            i for i in rows if rows[i]["exam_id"] == exam_id and rows[i]["outcome"] == "lesion"
        }
        for group in groups:
            row = rows[group.tracking_identifier]
            for name, value in measured(group).items():
                assert value == pytest.approx(row[name], rel=1e-6), name

    def test_refers_to_the_segments_by_the_same_tracking_uids(self, written: Home) -> None:
        (exam_id,) = exams_by(written, "dicom")
        seg = pydicom.dcmread(written.exports / exam_id / SEG_NAME, stop_before_pixels=True)
        document = highdicom.sr.srread(written.exam_reports / exam_id / "report.dcm")
        groups = document.content.get_volumetric_roi_measurement_groups()
        uids = {group.tracking_identifier: str(group.tracking_uid) for group in groups}
        assert uids == {str(s.TrackingID): str(s.TrackingUID) for s in seg.SegmentSequence}
        assert {str(g.referenced_segment.referenced_sop_instance_uid) for g in groups} == {str(seg.SOPInstanceUID)}

    @pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
    def test_and_segmentation_have_no_error_for_the_validator(self, written: Home) -> None:
        (exam_id,) = exams_by(written, "dicom")
        for path in (written.exports / exam_id / SEG_NAME, written.exam_reports / exam_id / "report.dcm"):
            done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
            said = (done.stdout + done.stderr).splitlines()
            assert [line for line in said if line.startswith("Error")] == [], path.name

    def test_has_the_same_uids_again(self, written: Home, small_cohort: Path, tmp_path: Path) -> None:
        (exam_id,) = exams_by(written, "dicom")
        again = Home(tmp_path / "home")
        shutil.copytree(written.root, again.root)
        for folder in (again.exports, again.exam_reports):
            shutil.rmtree(folder)
        export_lesions(again, small_cohort / "exams", SETTINGS)
        update_reports(again, small_cohort / "exams", SETTINGS)
        segs = (f"exports/{exam_id}/{SEG_NAME}", f"exports/{exam_id}/{LABELMAP_NAME}")
        for part in (*segs, f"exam_reports/{exam_id}/report.dcm"):
            uids = [
                [str(e.value) for e in pydicom.dcmread(home.root / part).iterall() if e.VR == "UI"]
                for home in (written, again)
            ]
            assert uids[0] == uids[1], part


class TestUpdateReports:
    def test_writes_what_it_can_of_a_nifti_exam_and_says_why_no_more(self, home: Home, exams: Path) -> None:
        exam_id = exams_by(home, "nifti")[0]
        summary = update_reports(home, exams, SETTINGS)
        assert summary.without_sr[exam_id] == NO_DICOM
        folder = home.exam_reports / exam_id
        assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
            "report.fhir.json",
            "report.html",
            "report.json",
            "report.md",
        ]
        bundle = json.loads((folder / "report.fhir.json").read_text())
        assert check_bundle(bundle) == []
        assert "ImagingStudy" not in {entry["resource"]["resourceType"] for entry in bundle["entry"]}

    def test_writes_nothing_again_where_nothing_changed(self, home: Home, exams: Path) -> None:
        first, second = update_reports(home, exams, SETTINGS), update_reports(home, exams, SETTINGS)
        assert (first.written, first.reused) == (second.reused, second.written)
        assert first.written > 0

    def test_removes_the_report_of_an_exam_that_is_gone_and_nothing_else(self, home: Home, exams: Path) -> None:
        update_reports(home, exams, SETTINGS)
        (home.exam_reports / "mine").mkdir()
        (home.exam_reports / "GONE").mkdir()
        shutil.copy(next(home.exam_reports.glob("*/.report.json")), home.exam_reports / "GONE" / ".report.json")
        assert update_reports(home, exams, SETTINGS).removed == 1
        assert (home.exam_reports / "mine").is_dir()

    def test_of_an_unknown_exam_says_what_to_do(self, home: Home) -> None:
        with pytest.raises(ReportError, match="view exams"):
            ReportTables.of(home).report("nobody")
