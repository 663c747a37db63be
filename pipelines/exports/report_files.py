"""Draft reports of a home: a folder an exam, written again only where what it says changed.

`PETAR_HOME/exam_reports/<exam>/` holds `report.json`, `report.md`, `report.html`, `report.fhir.json` and, where the
exam has a DICOM SEG among the exports, `report.dcm` (a structured report that refers to it).
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pydicom

from pipelines.exports.exam_report import ExamReport, ReportedExam, exam_report
from pipelines.exports.fhir_report import check_bundle, fhir_bundle
from pipelines.exports.proposed_report import report_of_proposals
from pipelines.exports.report_pages import html_page, markdown_page
from pipelines.exports.segmentation import pet_slices
from pipelines.exports.structured_report import write_structured_report
from pipelines.exports.viewer_files import SEG_NAME, export_reason, source_folders
from pipelines.settings import ExportSettings
from pipelines.tables import atomic
from pipelines.tables.errors import listed
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home, folder_name
from pipelines.tables.lake import Lake
from pipelines.tables.outcomes import Outcome
from pipelines.tables.provenance import code_version
from pipelines.tables.stamped_folders import remove_others, stamp_of, write_stamp
from pipelines.tables.suggestions import suggestion

_JSON, _MARKDOWN, _HTML, _FHIR, _SR, _STAMP = (
    "report.json",
    "report.md",
    "report.html",
    "report.fhir.json",
    "report.dcm",
    ".report.json",
)
_OF_FINDINGS = ("finding_id", "region", "organ", "subsite", "laterality", "comparison", "is_physiologic")
NO_DICOM = "the exam came as NIfTI, which has no UIDs to refer to"


class ReportError(ValueError):
    """A report that cannot be made; the message says why, and what to do."""


@dataclass(frozen=True)
class ReportSummary:
    """What a call did, in exams; `without_sr` says by exam why it has no structured report."""

    folder: Path
    written: int
    reused: int
    removed: int
    lesions: int
    without_sr: Mapping[str, str]


@dataclass(frozen=True)
class ReportTables:
    """The rows that reports are made of, read once."""

    exams: Mapping[str, Mapping[str, Any]]
    lesions: Mapping[str, list[Mapping[str, Any]]]
    pairs: Mapping[str, Mapping[str, Any]]
    links: Mapping[str, list[Mapping[str, Any]]]
    by_finding: Mapping[str, Mapping[str, Any]]
    texts: Mapping[str, Mapping[str, Any]]
    proposals: Mapping[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Of exams that no report names."""

    @classmethod
    def of(cls, home: Home) -> "ReportTables":
        """Those of a home's lake."""
        lake = Lake(home.lake)
        located = lake.read_table("lesions").filter(pl.col("outcome") == Outcome.LESION.value)
        rows = located.join(lake.read_table("findings").select(_OF_FINDINGS), on="finding_id", how="left")
        lesions = _grouped(rows)
        predictions = lake.read_table("predictions").filter(pl.col("model").str.starts_with("petar"))
        return cls(
            {row["exam_id"]: row for row in lake.read_table("exams").iter_rows(named=True)},
            lesions,
            {row["exam_id"]: row for row in lake.read_table("exam_pairs").iter_rows(named=True)},
            _grouped(lake.read_table("lesion_links")),
            {row["finding_id"]: row for own in lesions.values() for row in own},
            {row["finding_id"]: row for row in predictions.sort("model").iter_rows(named=True)},
            _grouped(lake.read_table("proposals")),
        )

    def report(self, exam_id: str) -> ExamReport:
        """The draft of an exam.

        Raises:
            ReportError: there is no such exam, or it has no volume.
        """
        row = self.exams.get(exam_id)
        if row is None:
            end = suggestion(exam_id, self.exams, ": see exam_id in the view exams")
            raise ReportError(f"expected an exam of this home, got {exam_id!r}{end}")
        if row["status"] != "ok":
            raise ReportError(
                f"exam {exam_id} has no volume ({row['problem']}: {row['message']}): no report is made of it"
            )
        pair = self.pairs.get(exam_id)
        prior, days, reason = (pair["prior_exam_id"], pair["days"], pair["reason"]) if pair else (None, None, None)
        if reason is not None:
            prior = days = None
        exam = ReportedExam(
            exam_id, row["patient_id"], row["study_date"], row["tracer"], row["n_slices"], prior, days, reason
        )
        if row["problem"] == ExamProblem.NO_REPORT.value:
            return report_of_proposals(exam, self.proposals.get(exam_id, ()), self.lesions.get(exam_id, ()))
        return exam_report(
            exam, self.lesions.get(exam_id, ()), self.links.get(exam_id, ()), self.by_finding, self.texts
        )


def update_reports(
    home: Home,
    exams_folder: Path,
    settings: ExportSettings,
    log: logging.Logger | None = None,
    days_back: Callable[[str], int | None] = lambda patient_id: None,
) -> ReportSummary:
    """Brings `home.exam_reports` up to the curated lesions and their links: changed drafts are written again.

    Args:
        home: folders below PETAR_HOME.
        exams_folder: the exams, whose DICOM series a structured report refers to, where the home does not know them.
        settings: whether DICOM is written, and whether it names the patient.
        log: is told of exams without a structured report.
        days_back: patient -> by how many days the dates of DICOM files are moved.
    """
    log = log or logging.getLogger(__name__)
    tables, folders = ReportTables.of(home), source_folders(home)
    usable = [exam_id for exam_id, row in sorted(tables.exams.items()) if row["status"] == "ok"]
    removed = remove_others(home.exam_reports, _STAMP, {folder_name(exam_id) for exam_id in usable})
    written = reused = n_lesions = 0
    without: dict[str, str] = {}
    for exam_id in usable:
        report = tables.report(exam_id)
        n_lesions += report.burden.n_lesions
        folder, seg = home.exam_reports / folder_name(exam_id), home.exports / folder_name(exam_id) / SEG_NAME
        found = seg.is_file() and settings.dicom_seg
        days = days_back(report.exam.patient_id)
        stamp = hash_of(
            code_version(__name__), report.to_json(), found and seg.stat().st_mtime_ns, settings.keep_identity, days
        )
        if stamp_of(folder, _STAMP) == stamp:
            reused += 1
            continue
        shutil.rmtree(folder, ignore_errors=True)
        why = _why_no_seg(tables.exams[exam_id], settings, report) if not found else None
        if found:
            source = folders.get(exam_id, exams_folder / exam_id)
            why = _write_sr(report, seg, source, folder / _SR, settings.keep_identity, days)
        if why is not None:
            without[exam_id] = why
            log.info("exam %s has no structured report: %s", exam_id, why)
        _write(report, seg if found else None, folder)
        write_stamp(folder, _STAMP, stamp)
        written += 1
    return ReportSummary(home.exam_reports, written, reused, removed, n_lesions, without)


def _write(report: ExamReport, seg: Path | None, folder: Path) -> None:
    """The draft's JSON, Markdown, HTML and FHIR."""
    study_uid, series = None, {}
    if seg is not None:
        header = pydicom.dcmread(seg, stop_before_pixels=True)
        study_uid, series = str(header.StudyInstanceUID), {str(header.SeriesInstanceUID): "SEG"}
        for one in header.get("ReferencedSeriesSequence", ()):
            series[str(one.SeriesInstanceUID)] = "PT"
    bundle = fhir_bundle(report, study_uid, series)
    if wrong := check_bundle(bundle):
        raise ReportError(f"the FHIR bundle of exam {report.exam.exam_id} is wrong: {listed(wrong, 5, '; ')}")
    for name, value in ((_JSON, report.to_json()), (_FHIR, bundle)):
        atomic.write_bytes(folder / name, json.dumps(value, indent=1).encode())
    atomic.write_bytes(folder / _MARKDOWN, markdown_page(report).encode())
    atomic.write_bytes(folder / _HTML, html_page(report).encode())


def _write_sr(
    report: ExamReport, seg: Path, source: Path, path: Path, keep_identity: bool, days: int | None
) -> str | None:
    """Why an exam's structured report is missing, null where it was written."""
    try:
        header = pydicom.dcmread(seg, stop_before_pixels=True)
        named = {
            str(instance.ReferencedSOPInstanceUID)
            for series in header.ReferencedSeriesSequence
            for instance in series.ReferencedInstanceSequence
        }
        _, slices = pet_slices(source, keep_identity, days)
        write_structured_report(report, seg, [one for one in slices if str(one.SOPInstanceUID) in named], path)
    except Exception as error:
        return export_reason(error)
    return None


def _why_no_seg(exam: Mapping[str, Any], settings: ExportSettings, report: ExamReport) -> str:
    if exam["source"] != "dicom":
        return NO_DICOM
    if not settings.dicom_seg:
        return "dicom_seg under [exports] is off"
    if exam["problem"] == ExamProblem.NO_REPORT.value:
        return "its lesions are proposals, of which no DICOM SEG is written"
    return "it has no lesion" if not report.lesions else "its DICOM SEG is not there: export it (petar export)"


def _grouped(rows: pl.DataFrame) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row["exam_id"], []).append(row)
    return found
