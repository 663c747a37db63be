"""Reports from CSV, Parquet, a folder of text files, or FHIR DiagnosticReport JSON, as one table.

What is wrong with a row stands in the row.
"""

import base64
import binascii
import csv
import html
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

COLUMNS = ("exam_id", "patient_id", "findings", "impression", "study_date", "tracer", "problem")
"""Columns of the table of reports; all text, null where unknown. `problem` is null where the row is as it should be."""

SCHEMA = pl.Schema({name: pl.String for name in COLUMNS})

LARGE_REPORT_CHARS = 1_000_000
"""A longer report is read, with a word of doubt: it is more likely a whole file pasted into one cell."""

FILE_NAMES = ("reports.csv", "reports.parquet", "reports.json", "reports.ndjson", "reports")
"""What a cohort folder's reports may be called, in the order in which they are looked for.

`reports` is a folder of .txt or FHIR .json.
"""

_VOID_STATUS = ("entered-in-error", "cancelled")
"""Of a FHIR DiagnosticReport: what it says was taken back."""

_ALIASES = {
    "exam_id": (
        "exam_id",
        "examid",
        "exam",
        "accession",
        "accession_number",
        "accessionnumber",
        "study_id",
        "report_id",
    ),
    "patient_id": ("patient_id", "patientid", "patient", "mrn", "subject_id"),
    "findings": ("findings", "report", "report_text", "text", "findings_text"),
    "impression": ("impression", "conclusion"),
    "study_date": ("study_date", "studydate", "date", "exam_date"),
    "tracer": ("tracer", "radiopharmaceutical"),
}


class ReportsError(ValueError):
    """A source of reports cannot be read at all; the message says what was expected, what came and what to do."""


@dataclass(frozen=True)
class Report:
    """One report. `problem` says what is wrong with it, null where nothing is."""

    exam_id: str
    patient_id: str | None = None
    findings: str | None = None
    impression: str | None = None
    study_date: str | None = None
    tracer: str | None = None
    problem: str | None = None


def find_reports(folder: Path) -> Path | None:
    """Path of a cohort folder's reports, null where there are none."""
    return next((folder / name for name in FILE_NAMES if (folder / name).exists()), None)


def read_reports(path: Path) -> pl.DataFrame:
    """Table of reports (see `COLUMNS`), one row an exam, in the source's order.

    Args:
        path: .csv, .parquet, .json or .ndjson (FHIR DiagnosticReport, a Bundle or a list of them), .txt, or a folder of
            .txt and .json files.

    An exam that comes twice keeps its first report; where the others differ, the row's problem says so.

    Raises:
        ReportsError: the path is not there, is of another kind, has no exam or findings column, or cannot be decoded as
            a table.
    """
    if not path.exists():
        raise ReportsError(f"expected a file or folder of reports, got {path}, which is not there: check the path")
    if path.is_dir():
        reports: Iterable[Report] = _from_folder(path)
    elif path.suffix.lower() in (".csv", ".tsv"):
        reports = _from_csv(path)
    elif path.suffix.lower() in (".parquet", ".pq"):
        reports = _from_parquet(path)
    elif path.suffix.lower() in (".json", ".ndjson", ".jsonl"):
        reports = _from_fhir(path)
    elif path.suffix.lower() == ".txt":
        reports = [_from_text(path)]
    else:
        raise ReportsError(
            f"expected reports as .csv, .parquet, .json, .ndjson, .txt or a folder, got {path.name}: convert it to "
            f"one of these"
        )
    rows = [vars(_checked(r)) for r in _unique(reports)]
    return pl.DataFrame(rows, schema=SCHEMA)


def decode(data: bytes) -> tuple[str, str | None]:
    """Text of bytes and, where they are not UTF-8, a word on how they were read (UTF-16 by its mark, else
    Windows-1252).
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16"), "not UTF-8: read as UTF-16"
        except UnicodeDecodeError:
            pass
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is no UTF-8"
        try:
            text, name = data.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:
            text, name = data.decode("latin-1"), "Latin-1"
        return text, f"not UTF-8 ({where}): read as {name}; save the file as UTF-8 if letters look wrong"


# --- what is wrong with a row ----------------------------------------------------------------------------------------
def _checked(report: Report) -> Report:
    problems = [report.problem] if report.problem else []
    if not (report.findings or "").strip():
        problems.append("empty report: no findings text")
    else:
        size = len(report.findings or "")
        if size > LARGE_REPORT_CHARS:
            problems.append(f"very long report: {size:,} characters; check that the row holds one report")
        if "\ufffd" in (report.findings or ""):
            problems.append("letters were lost when the report was saved (U+FFFD): export it again as UTF-8")
    if not report.patient_id:
        problems.append("no patient id: the exam is taken for a patient of its own")
    problem = "; ".join(problems) or None
    # A copy of every report of a cohort would cost as much as reading them.
    return report if problem == report.problem else replace(report, problem=problem)


def _unique(reports: Iterable[Report]) -> list[Report]:
    out: dict[str, Report] = {}
    extra: dict[str, list[Report]] = {}
    for report in reports:
        if report.exam_id in out:
            extra.setdefault(report.exam_id, []).append(report)
        else:
            out[report.exam_id] = report
    for exam_id, others in extra.items():
        first = out[exam_id]
        differs = any((o.findings, o.patient_id) != (first.findings, first.patient_id) for o in others)
        text = f"exam id comes {len(others) + 1} times" + (
            " with different reports: the first is used; give each report its own exam id"
            if differs
            else " with the same report"
        )
        out[exam_id] = replace(first, problem=_joined(first.problem, text))
    return list(out.values())


def _joined(*problems: str | None) -> str | None:
    return "; ".join(p for p in problems if p) or None


def _text(value: object) -> str | None:
    text = "" if value is None else str(value)
    return text if text.strip() else None


def _report(row: Mapping[str, object], where: str, problem: str | None = None) -> Report:
    exam_id = (_text(row.get("exam_id")) or "").strip()
    if not exam_id:
        exam_id = where
        problem = _joined(problem, f"no exam id: named {where}")
    patient = _text(row.get("patient_id"))
    return Report(
        exam_id=exam_id,
        patient_id=patient.strip() if patient else None,
        findings=_text(row.get("findings")),
        impression=_text(row.get("impression")),
        study_date=_text(row.get("study_date")),
        tracer=_text(row.get("tracer")),
        problem=problem,
    )


def _columns(names: Iterable[str], path: Path) -> dict[str, str]:
    """Our column -> the source's column."""
    given = {name.strip().lstrip("\ufeff").lower().replace(" ", "_"): name for name in names}
    out = {}
    for column, aliases in _ALIASES.items():
        hit = next((given[a] for a in aliases if a in given), None)
        if hit is not None:
            out[column] = hit
    missing = [c for c in ("exam_id", "findings") if c not in out]
    if missing:
        raise ReportsError(
            f"expected columns exam_id, patient_id and findings in {path}, got {', '.join(given) or 'none'}:"
            f" add {' and '.join(missing)}"
        )
    return out


# --- formats ---------------------------------------------------------------------------------------------------------


def _from_csv(path: Path) -> Iterator[Report]:
    text, problem = _read_table_text(path)
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = next(rows, None)
        if not header:
            raise ReportsError(
                f"expected a table of reports in {path}, got an empty file: add the columns exam_id, patient_id, "
                f"findings"
            )
        columns = _columns(header, path)
        positions = {column: header.index(name) for column, name in columns.items()}
        for n, values in enumerate(rows, start=2):
            if not any(v.strip() for v in values):
                continue
            row_problem = problem
            if len(values) != len(header):
                fault = f"row {n} has {len(values)} fields instead of {len(header)}: quote text that holds commas"
                row_problem = _joined(problem, fault)
            row = {c: values[i] if i < len(values) else None for c, i in positions.items()}
            yield _report(row, f"row {n}", row_problem)
    except csv.Error as error:
        raise ReportsError(
            f"expected a CSV of reports, got {path} that breaks off with {error}: export it again"
        ) from error


def _delimiter(text: str) -> str:
    header = text.split("\n", 1)[0]
    return max(",;\t|", key=header.count) if any(d in header for d in ",;\t|") else ","


def _read_table_text(path: Path) -> tuple[str, str | None]:
    text, problem = decode(path.read_bytes())
    if "\x00" in text:
        raise ReportsError(f"expected text in {path}, got binary data: export the reports as UTF-8 CSV")
    return text, problem


def _from_parquet(path: Path) -> Iterator[Report]:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ReportsError(
            f"expected a Parquet file of reports, got {path} that cannot be read ({error}): write it again"
        ) from error
    columns = _columns(frame.columns, path)
    for n, row in enumerate(frame.select(columns.values()).iter_rows(named=True), start=1):
        yield _report({c: row[name] for c, name in columns.items()}, f"row {n}")


def _from_folder(folder: Path) -> Iterator[Report]:
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in (".txt", ".json", ".ndjson", ".jsonl")
    )
    if not files:
        raise ReportsError(
            f"expected .txt or FHIR .json reports in {folder}, got none: add one file an exam, named <exam_id>.txt"
        )
    for path in files:
        if path.suffix.lower() == ".txt":
            yield _from_text(path, folder)
            continue
        try:
            yield from _from_fhir(path)
        except ReportsError as error:
            yield Report(exam_id=path.stem, problem=str(error))


def _from_text(path: Path, folder: Path | None = None) -> Report:
    """A text file is the report of the exam it is named after; a sub-folder, where there is one, names the patient."""
    text, problem = decode(path.read_bytes())
    patient = path.parent.name if folder is not None and path.parent != folder else None
    return Report(exam_id=path.stem, patient_id=patient, findings=text if text.strip() else None, problem=problem)


def _from_fhir(path: Path) -> Iterator[Report]:
    text, problem = decode(path.read_bytes())
    try:
        resources = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if path.suffix.lower() != ".json"
            else [json.loads(text)]
        )
    except ValueError as error:
        raise ReportsError(
            f"expected FHIR DiagnosticReport JSON, got {path} that is no JSON ({error}): export it again"
        ) from error
    found = False
    for resource in resources:
        for report, contained in _diagnostic_reports(resource):
            found = True
            yield _from_resource(report, contained, f"{path.stem}", problem)
    if not found:
        raise ReportsError(
            f"expected a FHIR DiagnosticReport (or a Bundle of them) in {path}, got none: export resources of this type"
        )


def _diagnostic_reports(value: Any) -> Iterator[tuple[dict[str, Any], dict[str, dict[str, Any]]]]:
    """(report, resources by reference) of a resource, a list of them, or a Bundle."""
    if isinstance(value, list):
        for entry in value:
            yield from _diagnostic_reports(entry)
    elif isinstance(value, dict) and value.get("resourceType") == "Bundle":
        entries = [e for e in value.get("entry") or [] if isinstance(e, dict) and isinstance(e.get("resource"), dict)]
        by_reference: dict[str, dict[str, Any]] = {}
        for entry in entries:
            resource = entry["resource"]
            by_reference[f"{resource.get('resourceType')}/{resource.get('id')}"] = resource
            if entry.get("fullUrl"):
                by_reference[str(entry["fullUrl"])] = resource
        for entry in entries:
            if entry["resource"].get("resourceType") == "DiagnosticReport":
                yield entry["resource"], by_reference
    elif isinstance(value, dict) and value.get("resourceType") == "DiagnosticReport":
        yield value, {}


def _from_resource(
    resource: dict[str, Any], others: dict[str, dict[str, Any]], where: str, problem: str | None
) -> Report:
    problems = [problem] if problem else []
    status = resource.get("status")
    if status in _VOID_STATUS:
        problems.append(f"the report's status is {status}: not read")
    identifiers = [i for i in resource.get("identifier") or [] if isinstance(i, dict) and i.get("value")]
    accession = [i for i in identifiers if "ACSN" in json.dumps(i.get("type") or {})]
    exam_id = str((accession or identifiers or [{"value": resource.get("id") or where}])[0]["value"])
    subject = resource.get("subject") or {}
    patient = subject.get("reference") or (subject.get("identifier") or {}).get("value") or subject.get("display")
    patient_id = str(patient).rsplit("/", 1)[-1].removeprefix("urn:uuid:") if patient else None
    contained = {f"#{c.get('id')}": c for c in resource.get("contained") or [] if isinstance(c, dict)}
    texts = []
    for form in resource.get("presentedForm") or []:
        text, note = _attachment(form)
        texts += [text] if text else []
        problems += [note] if note else []
    for reference in resource.get("result") or []:
        name = str((reference or {}).get("reference", ""))
        observation = contained.get(name) or others.get(name)
        if observation and observation.get("valueString"):
            texts.append(str(observation["valueString"]))
    if not texts:
        division = (resource.get("text") or {}).get("div")
        if division:
            texts.append(_plain(str(division)))
    date = (
        resource.get("effectiveDateTime")
        or (resource.get("effectivePeriod") or {}).get("start")
        or resource.get("issued")
    )
    return Report(
        exam_id=exam_id,
        patient_id=patient_id,
        findings=("\n".join(texts) or None) if status not in _VOID_STATUS else None,
        impression=_text(resource.get("conclusion")),
        study_date=str(date)[:10] if date else None,
        problem="; ".join(problems) or None,
    )


def _attachment(form: Any) -> tuple[str | None, str | None]:
    if not isinstance(form, dict) or not form.get("data"):
        return None, "presentedForm without data: embed the text, links are not followed" if isinstance(
            form, dict
        ) and form.get("url") else None
    kind = str(form.get("contentType") or "text/plain").split(";")[0].strip().lower()
    if not kind.startswith("text/"):
        return None, f"presentedForm of type {kind} is not read: embed the report as text/plain"
    try:
        text, problem = decode(base64.b64decode(form["data"], validate=False))
    except (binascii.Error, ValueError) as error:
        return None, f"presentedForm is no base64 ({error}): export it again"
    return (_plain(text) if kind == "text/html" else text), problem


def _plain(markup: str) -> str:
    """Text of simple XHTML, a line for each block."""
    text = re.sub(r"(?is)<(script|style).*?</\1>", "", markup)
    text = re.sub(r"(?i)<\s*(?:br|/p|/div|/li|/tr|/h[1-6])\b[^>]*>", "\n", text)
    return html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
