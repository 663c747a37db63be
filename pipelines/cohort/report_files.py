"""Reports from CSV, a workbook, Parquet, a folder of text files, or FHIR DiagnosticReport JSON, as one table.

What is wrong with a row, a file or a resource stands in its row and ends none of the others.
"""

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.cohort.privacy.dates import date_of, day_first_of, has_two_readings
from pipelines.cohort.table_files import (
    WORKBOOK_SUFFIXES,
    TableFileError,
    decode,
    is_blank,
    read_table_file,
    without_lone_surrogates,
)
from pipelines.tables.safe_text import error_reason
from pipelines.tables.split_names import SPLIT_WORDS, split_named

COLUMNS = ("exam_id", "patient_id", "findings", "impression", "study_date", "tracer", "split", "problem")
"""Columns of the table of reports; all text, null where unknown. `problem` is null where the row is as it should be."""

SCHEMA = pl.Schema({name: pl.String for name in COLUMNS})

LONGEST_REPORT_CHARS = 50_000
"""Characters of a report that is read, sixteen pages; longer ones are whole files in one cell, and would keep the other
exams waiting.
"""

FILE_SUFFIXES = (".csv", ".parquet", ".json", ".ndjson", ".tsv", *WORKBOOK_SUFFIXES, ".jsonl", ".pq", "")
"""What a cohort folder's `reports` may be, in the order in which they are looked for; without a suffix it is a folder
of .txt or FHIR .json.
"""

_VOID_STATUS = ("entered-in-error", "cancelled")
"""Of a FHIR DiagnosticReport: what it says was taken back."""

_CHANGED_STATUS = ("amended", "corrected", "appended")
"""Of a FHIR DiagnosticReport: it was changed after it was final."""

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
    "split": ("split",),
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
    split: str | None = None
    problem: str | None = None
    precedence: tuple[int, str] = (0, "")
    """Of an exam's reports the highest is used, of equal ones the first: (how final it is, when it was issued)."""


def find_reports(folder: Path) -> Path | None:
    """Path of a cohort folder's reports (`reports.csv`, in any case), null where there are none."""
    found: dict[tuple[int, int, str], Path] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        suffix = path.suffix.lower()
        stem, exact = path.name.lower().removesuffix(suffix), path.name == f"reports{suffix}"
        if stem in ("reports", "report") and suffix in FILE_SUFFIXES and path.is_dir() == (suffix == ""):
            found[FILE_SUFFIXES.index(suffix), not exact, path.name] = path
    return found[min(found)] if found else None


def read_reports(path: Path) -> pl.DataFrame:
    """Table of reports (see `COLUMNS`), one row an exam, in the source's order.

    Args:
        path: .csv, .tsv, .xlsx, .xls, .ods, .parquet, .json or .ndjson (FHIR DiagnosticReport, a Bundle or a list of
            them), .txt, or a folder of .txt and .json files.

    An exam that comes twice keeps its first report, of FHIR reports the one that was changed after it was final, then
    the final one, then the one that was issued last; where the others differ, the row's problem says so. Ids are in
    Unicode's composed form (NFC), whatever the file has.

    Raises:
        ReportsError: the path is not there, is of another kind, has no exam or findings column, cannot be decoded as
            a table, or its rows cannot be told apart.
    """
    if not path.exists():
        raise ReportsError(f"expected a file or folder of reports, got {path}, which is not there: check the path")
    suffix = path.suffix.lower()
    if path.is_dir():
        reports: Iterable[Report] = _from_folder(path)
    elif suffix in (".csv", ".tsv", *WORKBOOK_SUFFIXES):
        reports = _from_table(path)
    elif suffix in (".parquet", ".pq"):
        reports = _from_parquet(path)
    elif suffix in (".json", ".ndjson", ".jsonl"):
        reports = _from_fhir(path, str(path))
    elif suffix == ".txt":
        reports = [_from_text(path)]
    else:
        raise ReportsError(
            f"expected reports as .csv, .xlsx, .parquet, .json, .ndjson, .txt or a folder, got {path.name}: convert it "
            f"to one of these"
        )
    try:
        found = _unique(report for report in reports if not _is_header(report))
        day_first = day_first_of(report.study_date for report in found if report.study_date)
        checked = [_checked(report, day_first) for report in found]
        rows = [{name: getattr(report, name) for name in COLUMNS} for report in checked]
    except OSError as error:
        raise ReportsError(
            f"expected reports in {path}, got a file that cannot be read ({error_reason(error)}): copy it again"
        ) from error
    return pl.DataFrame(rows, schema=SCHEMA)


def clean_id(text: str) -> str:
    """An id as it is compared: composed (NFC), without blanks, marks of width 0 or lone surrogates around or in it, and
    as one line; a spreadsheet's `="00042"` is 00042.
    """
    formula = re.fullmatch(r'\s*="([^"]*)"\s*', text)
    text = unicodedata.normalize("NFC", without_lone_surrogates(formula[1] if formula else text))
    return " ".join(_INVISIBLE.sub("", text).split())


_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
"""Soft hyphen, marks of width 0 and of direction, the byte order mark."""

LONGEST_ID = 255
"""Characters of an exam's id; a longer one is text that came to stand in the wrong column."""


# --- what is wrong with a row ---


def _is_header(report: Report) -> bool:
    """Whether a row holds the names of the columns again, as where tables were put one behind another."""
    return all(
        "_".join(clean_id(value or "").lower().split()) in _ALIASES[column]
        for column, value in (("exam_id", report.exam_id), ("findings", report.findings))
    )


def _checked(report: Report, day_first: bool | None) -> Report:
    problems = [report.problem] if report.problem else []
    if len(report.exam_id) > LONGEST_ID:
        problems.append(
            f"exam id of {len(report.exam_id)} characters: if it is a piece of a report, quote that report's text"
        )
    if not (report.findings or "").strip():
        problems.append(_EMPTY)
    elif (size := len(report.findings or "")) > LONGEST_REPORT_CHARS:
        problems.append(
            f"very long report: {size:,} characters, it is not read; give each report a row of its own, of at most "
            f"{LONGEST_REPORT_CHARS:,} characters"
        )
        report = replace(report, findings=None)
    elif "\ufffd" in (report.findings or ""):
        problems.append("letters were lost when the report was saved (U+FFFD): export it again as UTF-8")
    day = date_of(report.study_date, day_first)
    if report.study_date and day is None:
        problems.append("study_date names no day: write it as YYYY-MM-DD")
    elif day_first is None and has_two_readings(report.study_date):
        problems.append("study_date may be either of two days, its month is read first: write it as YYYY-MM-DD")
    split = split_named(report.split)
    if report.split and split is None:
        problems.append(f"split names none of {', '.join(SPLIT_WORDS)}: it is drawn by the patient's id")
    report = replace(report, study_date=day.isoformat() if day else None, split=split)
    if not report.patient_id:
        problems.append("no patient id: the exam is taken for a patient of its own")
    problem = "; ".join(problems) or None
    # A copy of every report of a cohort would cost as much as reading them.
    return report if problem == report.problem else replace(report, problem=problem)


_EMPTY = "empty report: no findings text"


def without_empty_report(problem: str | None) -> str | None:
    """What is wrong with the row of an exam that needs no report."""
    return "; ".join(one for one in (problem or "").split("; ") if one != _EMPTY) or None


def _unique(reports: Iterable[Report]) -> list[Report]:
    of_exam: dict[str, list[Report]] = {}
    for report in reports:
        of_exam.setdefault(report.exam_id, []).append(report)
    return [found[0] if len(found) == 1 else _used_of(found) for found in of_exam.values()]


def _used_of(reports: Sequence[Report]) -> Report:
    """The one of an exam's reports that is used, with what is wrong."""
    used = max(reports, key=lambda report: report.precedence)
    rule = "the first" if all(r.precedence == used.precedence for r in reports) else "the one of the latest state"
    text = f"exam id comes {len(reports)} times" + (
        f" with different reports: {rule} is used; give each report its own exam id"
        if any(_said(report) != _said(used) for report in reports)
        else " with the same report"
    )
    return replace(used, problem=_joined(used.problem, text))


def _said(report: Report) -> tuple[str | None, ...]:
    return report.findings, report.impression, report.patient_id


def _joined(*problems: str | None) -> str | None:
    return "; ".join(p for p in problems if p) or None


def _text(value: object) -> str | None:
    text = "" if value is None else without_lone_surrogates(str(value))
    return text if text.strip() else None


def _report(row: Mapping[str, object], where: str, problem: str | None = None) -> Report:
    exam_id, patient_id = _id(row.get("exam_id")), _id(row.get("patient_id"))
    if not exam_id:
        exam_id = where
        problem = _joined(problem, f"no exam id: named {where}")
    return Report(
        exam_id=exam_id,
        patient_id=patient_id or None,
        findings=_text(row.get("findings")),
        impression=_text(row.get("impression")),
        study_date=_text(row.get("study_date")),
        tracer=_text(row.get("tracer")),
        split=_text(row.get("split")),
        problem=problem,
    )


def _id(value: object) -> str:
    """An id as text; a number that lost its type to a missing value (4711.0) is the whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else clean_id(str(value))


def _columns(names: Iterable[str], path: Path) -> dict[str, list[int]]:
    """Our column -> positions of the source's columns for it, the first one that is filled counts."""
    given: dict[str, int] = {}
    for position, name in enumerate(names):
        given.setdefault("_".join(clean_id(name).lower().split()), position)
    out = {column: [given[a] for a in aliases if a in given] for column, aliases in _ALIASES.items()}
    missing = [c for c in ("exam_id", "findings") if not out[c]]
    if missing:
        # A first row without any of our names may be a report: it is not repeated.
        got = _listed(given) if any(out.values()) else f"{len(given)} of other names, or no row of names"
        known = "; ".join(f"{c} may also be called {', '.join(_ALIASES[c][1:])}" for c in missing)
        raise ReportsError(
            f"expected columns exam_id, patient_id and findings in {path}, got {got}: add {' and '.join(missing)}, or "
            f"rename what holds it ({known})"
        )
    return {column: positions for column, positions in out.items() if positions}


def _listed(names: Iterable[str], most: int = 12, longest: int = 30) -> str:
    """Names for a message: a few of them, and none that may be a text."""
    given = [name if len(name) <= longest else f"{name[:longest]}..." for name in names if name]
    return ", ".join(given[:most]) + (f" and {len(given) - most} more" if len(given) > most else "") or "none"


def _first_filled(cells: Iterable[object]) -> object:
    return next((cell for cell in cells if cell is not None and str(cell).strip()), None)


# --- formats ---


def _from_table(path: Path) -> Iterator[Report]:
    try:
        table = read_table_file(path)
        if not table.header:
            raise ReportsError(
                f"expected a table of reports in {path}, got an empty file: add the columns exam_id, patient_id, "
                f"findings"
            )
        columns = _columns(table.header, path)
        for row in table.rows:
            if is_blank(row.cells):
                continue
            problem = _joined(table.note, row.problem)
            surplus = row.cells[len(table.header) :]
            if len(row.cells) < len(table.header) or not is_blank(surplus):
                fault = f"row {row.number} has {len(row.cells)} fields instead of {len(table.header)}"
                problem = _joined(problem, f"{fault}: quote text that holds commas")
            n = len(row.cells)
            cells = {c: _first_filled(row.cells[i] for i in positions if i < n) for c, positions in columns.items()}
            yield _report(cells, f"row {row.number}", problem)
    except TableFileError as error:
        raise ReportsError(f"{path}: {error}") from error


def _from_parquet(path: Path) -> Iterator[Report]:
    # Polars' reader panics on damaged files, which writes the stack of its threads to standard error.
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = _columns(names, path)
            wanted = {position for positions in columns.values() for position in positions}
            cells = {i: file.read([names[i]], use_threads=False).column(0).to_pylist() for i in sorted(wanted)}
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, ReportsError):
            raise
        raise ReportsError(
            f"expected a Parquet file of reports, got {path} that cannot be read ({error_reason(error)}): write it "
            "again"
        ) from error
    for n in range(min(map(len, cells.values()))):
        row = {c: _first_filled([cells[i][n] for i in positions]) for c, positions in columns.items()}
        yield _report(row, f"row {n + 1}")


def _from_folder(folder: Path) -> Iterator[Report]:
    files = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in (".txt", ".json", ".ndjson", ".jsonl") and _is_file(p)
    )
    if not files:
        raise ReportsError(
            f"expected .txt or FHIR .json reports in {folder}, got none: add one file an exam, named <exam_id>.txt"
        )
    for path in files:
        try:
            if path.suffix.lower() == ".txt":
                yield _from_text(path, folder)
            else:
                yield from _from_fhir(path, "the file")
        except ReportsError as error:
            yield Report(exam_id=clean_id(_stem(path)), problem=str(error))
        except OSError as error:
            problem = f"the report cannot be read ({error_reason(error)}): copy it again"
            yield Report(exam_id=clean_id(_stem(path)), problem=problem)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A link to itself.
        return False


def _stem(path: Path) -> str:
    """Name of a file without its suffix; one that is not UTF-8 is read as its bytes say."""
    return file_name_text(path.stem)


def file_name_text(name: str) -> str:
    """The text of a file's or folder's name, also where its bytes are not UTF-8."""
    return decode(name.encode("utf-8", "surrogateescape"))[0] if _is_escaped(name) else name


def _is_escaped(name: str) -> bool:
    return any("\udc80" <= c <= "\udcff" for c in name)


def _from_text(path: Path, folder: Path | None = None) -> Report:
    """A text file is the report of the exam it is named after; a sub-folder, where there is one, names the patient."""
    text, problem = decode(path.read_bytes())
    patient = path.parent.name if folder is not None and path.parent != folder else None
    return Report(
        exam_id=clean_id(_stem(path)),
        patient_id=clean_id(file_name_text(patient)) if patient else None,
        findings=text if text.strip() else None,
        problem=problem,
    )


# --- FHIR ---


def _from_fhir(path: Path, shown: str) -> Iterator[Report]:
    """Reports of a file; `shown`: what messages call it."""
    text, problem = decode(path.read_bytes())
    name = clean_id(_stem(path))
    if path.suffix.lower() == ".json":
        found = list(_of_document(text, name, problem, shown))
    else:
        found = []
        for n, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                found += _of_line(line, n, name, problem)
    if not found:
        raise ReportsError(
            f"expected a FHIR DiagnosticReport (or a Bundle of them) in {shown}, got none: export resources of this "
            "type"
        )
    yield from found


def _of_line(line: str, n: int, name: str, problem: str | None) -> list[Report]:
    """Reports of one line of an NDJSON file; a broken line is a row that says so."""
    try:
        return list(_of_document(line, f"{name} line {n}", problem, f"line {n}"))
    except ReportsError as error:
        return [Report(exam_id=f"{name} line {n}", problem=str(error))]


def _of_document(text: str, where: str, problem: str | None, shown: str) -> Iterator[Report]:
    try:
        resource = json.loads(text)
        for n, (report, others) in enumerate(_diagnostic_reports(resource)):
            yield _from_resource(report, others, where if n == 0 else f"{where} #{n + 1}", problem)
    except (ValueError, RecursionError) as error:
        raise ReportsError(
            f"expected FHIR DiagnosticReport JSON in {shown}, got {error_reason(error)}: export it again"
        ) from error


def _diagnostic_reports(value: Any) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(report, resources by reference) of a resource, a list of them, or a Bundle."""
    if isinstance(value, list):
        for entry in value:
            yield from _diagnostic_reports(entry)
        return
    resource = _mapping(value)
    if resource.get("resourceType") == "DiagnosticReport":
        yield resource, {}
    elif resource.get("resourceType") == "Bundle":
        by_reference: dict[str, Any] = {}
        reports = []
        for entry in map(_mapping, _list(resource.get("entry"))):
            own = _mapping(entry.get("resource"))
            by_reference[f"{_word(own.get('resourceType'))}/{_word(own.get('id'))}"] = own
            if _word(entry.get("fullUrl")):
                by_reference[_word(entry.get("fullUrl"))] = own
            if own.get("resourceType") == "DiagnosticReport":
                reports.append(own)
        for report in reports:
            yield report, by_reference


# A resource may have anything anywhere: what is not of the standard's type counts as missing.


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _word(value: Any) -> str:
    """A text or a number as text; anything else is an empty text."""
    if isinstance(value, str):
        return without_lone_surrogates(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _from_resource(resource: Mapping[str, Any], others: Mapping[str, Any], where: str, problem: str | None) -> Report:
    problems = [problem] if problem else []
    status = _word(resource.get("status"))
    if status in _VOID_STATUS:
        problems.append(f"the report's status is {status}: not read")
    texts, notes = _texts_of(resource, others)
    exam_id, date = _exam_of(resource), _date_of(resource)
    if not exam_id:
        problems.append("no exam id: named after its file")
    return Report(
        exam_id=exam_id or where,
        patient_id=_patient_of(resource, others) or None,
        findings=_text("\n".join(texts)) if status not in _VOID_STATUS else None,
        impression=_text(_word(resource.get("conclusion"))) if status not in _VOID_STATUS else None,
        study_date=date[:10] if date else None,
        problem="; ".join([*problems, *notes]) or None,
        precedence=(_finality(status), _word(resource.get("issued"))),
    )


def _finality(status: str) -> int:
    """How final a FHIR report of a status is, from 0 (taken back) to 3."""
    if status in _VOID_STATUS:
        return 0
    return 3 if status in _CHANGED_STATUS else 2 if status == "final" else 1


def _exam_of(resource: Mapping[str, Any]) -> str:
    """Accession number, else the first identifier, else the id of a report; empty where it has none."""
    identifiers = [i for i in map(_mapping, _list(resource.get("identifier"))) if clean_id(_word(i.get("value")))]
    accession = [i for i in identifiers if "ACSN" in json.dumps(i.get("type"))]
    for identifier in (*accession, *identifiers):
        return clean_id(_word(identifier.get("value")))
    return clean_id(_word(resource.get("id")))


def _patient_of(resource: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Id of a report's patient; empty where it names none. A name that holds in one file alone ("#p", "urn:uuid:...")
    gives way to the first identifier of the Patient that it leads to: two files would call two patients "#p", or one
    patient by two names.
    """
    subject = _mapping(resource.get("subject"))
    reference = _word(subject.get("reference")).strip()
    if reference.startswith(("#", "urn:")):
        patient = _mapping(_contained(resource).get(reference) or others.get(reference))
        values = (clean_id(_word(i.get("value"))) for i in map(_mapping, _list(patient.get("identifier"))))
        own = next(filter(None, values), "")
        reference = own or ("" if reference.startswith("#") else reference.removeprefix("urn:uuid:"))
    else:
        # "Patient/9/_history/2", "Patient?identifier=http://a.org|9"
        reference = reference.partition("/_history/")[0]
        reference = reference.rpartition("|")[2] if "?" in reference else reference.rpartition("/")[2]
    named = (reference, _mapping(subject.get("identifier")).get("value"), subject.get("display"))
    return clean_id(next((_word(value) for value in named if _word(value).strip()), ""))


def _contained(resource: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The resources in another by the references that lead to them."""
    return {f"#{_word(c.get('id'))}": c for c in map(_mapping, _list(resource.get("contained")))}


def _date_of(resource: Mapping[str, Any]) -> str:
    period = _mapping(resource.get("effectivePeriod"))
    dates = (resource.get("effectiveDateTime"), period.get("start"), resource.get("issued"))
    return next((_word(date).strip() for date in dates if isinstance(date, str) and date.strip()), "")


def _texts_of(resource: Mapping[str, Any], others: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(texts, what is wrong with some) of a report: its attachments and results, else its narrative."""
    contained = _contained(resource)
    texts, notes = [], []
    for form in map(_mapping, _list(resource.get("presentedForm"))):
        text, note = _attachment(form)
        texts += [text] if text else []
        notes += [note] if note else []
    for reference in map(_mapping, _list(resource.get("result"))):
        name = _word(reference.get("reference"))
        observation = _mapping(contained.get(name) or others.get(name))
        if _word(observation.get("valueString")).strip():
            texts.append(_word(observation.get("valueString")))
    division = _word(_mapping(resource.get("text")).get("div"))
    if not texts and division:
        texts.append(_plain(division))
    return texts, notes


def _attachment(form: Mapping[str, Any]) -> tuple[str | None, str | None]:
    data = _word(form.get("data"))
    if not data:
        is_link = bool(_word(form.get("url")))
        return None, "presentedForm without data: embed the text, links are not followed" if is_link else None
    kind = (_word(form.get("contentType")) or "text/plain").split(";")[0].strip().lower()
    if not kind.startswith("text/"):
        named = f"of type {kind} " if re.fullmatch(r"[a-z]+/[a-z0-9.+-]{1,40}", kind) else "that is no text "
        return None, f"presentedForm {named}is not read: embed the report as text/plain"
    try:
        text, problem = decode(base64.b64decode(data, validate=False))
    except (binascii.Error, ValueError):
        return None, "presentedForm is no base64: export it again"
    return (_plain(text) if kind == "text/html" else text), problem


_TAG = re.compile(r"<[^<>]*>")
_BLOCK_END = re.compile(r"<\s*(?:br|/p|/div|/li|/tr|/h[1-6])\b[^<>]*>", re.IGNORECASE)
_UNSHOWN = re.compile(r"<(/?)(script|style)\b[^<>]*>", re.IGNORECASE)


def _plain(markup: str) -> str:
    """Text of simple XHTML, a line for each block."""
    text = _TAG.sub("", _BLOCK_END.sub("\n", _without_scripts(markup)))
    return html.unescape(text).strip()


def _without_scripts(markup: str) -> str:
    """The markup without its scripts and styles, found in one pass; one that is never closed goes on to the end."""
    kept, start, inside = [], 0, ""
    for tag in _UNSHOWN.finditer(markup):
        if not inside and not tag[1]:
            kept.append(markup[start : tag.start()])
            inside = tag[2].lower()
        elif inside and tag[1] and tag[2].lower() == inside:
            inside = ""
            start = tag.end()
    return "".join(kept) if inside else "".join([*kept, markup[start:]])
