"""Tables of reports, FHIR resources, texts of reports, and whole cohorts by their names."""

import csv
import io
import json
import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from benchmarks.fuzz import damage
from benchmarks.fuzz.case import Files, Input, WrongResultError
from benchmarks.fuzz.workbook import workbook
from pipelines.cohort.manifest import CohortError, scan_cohort
from pipelines.cohort.report_files import ReportsError, read_reports
from pipelines.reports.consensus import decide_exam
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from pipelines.settings import ConsensusSettings

_FINDINGS = "Right lower lobe nodule with SUV max of 8.1 (slice 12). Liver unremarkable, no FDG avid focus."
_REPORT_ROWS = [
    ["exam_id", "patient_id", "findings", "impression", "study_date", "tracer"],
    ["E0001", "P1", _FINDINGS, "Nodule.", "2021-03-04", "FDG"],
    ["E0002", "P2", "Läsion größer, SUVmax 5.0 (slice 3).\nSecond line, with comma; and more.", "", "04.03.2021", ""],
    ["00042", "P1", 'A "quoted" word.', "", "", "PSMA"],
]


def table_or_bytes(data: bytes, rng: random.Random) -> bytes:
    return damage.of_table(data, rng) if rng.random() < 0.75 else damage.of_bytes(data, rng)


def _read_reports(folder: Path) -> int:
    (path,) = folder.iterdir()
    frame = read_reports(path)
    if frame["exam_id"].null_count() or frame["exam_id"].is_duplicated().any():
        raise WrongResultError("an exam id is missing or comes twice")
    for row in frame.iter_rows(named=True):
        split_report(row["exam_id"], row["findings"] or "")
        if unicodedata.normalize("NFC", row["exam_id"]) != row["exam_id"]:
            raise WrongResultError("an exam id is not composed")
    return frame.height


def _parquet(rng: random.Random) -> Files:
    frame = pl.DataFrame(_REPORT_ROWS[1:], schema=_REPORT_ROWS[0], orient="row")
    name = rng.choice(frame.columns)
    other: Sequence[object] = rng.choice(
        (
            [1, 2, None],
            [1.5, None, 4711.0],
            [True, None, False],
            [[1], [], None],
            [{"a": 1}, None, {"a": 2}],
            [b"x", b"\xff", None],
        )
    )
    if rng.random() < 0.7:
        frame = frame.with_columns(pl.Series(name, other))
    out = io.BytesIO()
    frame.write_parquet(out)
    return {"reports.parquet": damage.of_bytes(out.getvalue(), rng) if rng.random() < 0.5 else out.getvalue()}


_FHIR = {
    "resourceType": "DiagnosticReport",
    "id": "r1",
    "status": "final",
    "identifier": [{"type": {"coding": [{"code": "ACSN"}]}, "value": "ACC1"}],
    "subject": {"reference": "Patient/P9", "identifier": {"value": "P9"}, "display": "P9"},
    "effectiveDateTime": "2020-02-03T10:00:00Z",
    "effectivePeriod": {"start": "2020-02-03"},
    "issued": "2020-02-04",
    "presentedForm": [
        {"contentType": "text/plain; charset=utf-8", "data": "TGVmdCBub2RlIFNVViA0LjIgKHNsaWNlIDgpLg=="},
        {"contentType": "text/html", "data": "PHA+QTwvcD4="},
        {"contentType": "application/pdf", "url": "x"},
    ],
    "contained": [{"resourceType": "Observation", "id": "o1", "valueString": "Node."}],
    "result": [{"reference": "#o1"}, {"reference": "Observation/2"}],
    "text": {"div": "<div><script>x</script><p>One &amp; two.</p></div>"},
    "conclusion": "Node.",
}
_BUNDLE = {
    "resourceType": "Bundle",
    "entry": [
        {"fullUrl": "urn:uuid:1", "resource": _FHIR},
        {"resource": {"resourceType": "Observation", "id": "2", "valueString": "Second."}},
        {"resource": {**_FHIR, "id": "r2", "identifier": [], "contained": [], "result": []}},
    ],
}


def _fhir(rng: random.Random) -> Files:
    values = [json.dumps(rng.choice((_FHIR, _BUNDLE, [_FHIR, _BUNDLE]))).encode() for _ in range(rng.randint(1, 3))]
    n = rng.randrange(len(values))
    values[n] = damage.of_json(values[n], rng) if rng.random() < 0.85 else damage.of_bytes(values[n], rng)
    if len(values) > 1:
        return {"reports.ndjson": b"\n".join(values)}
    return {"reports.json": values[0]}


_WORKBOOK = workbook(_REPORT_ROWS)


def _workbook(rng: random.Random) -> Files:
    if rng.random() < 0.5:
        return {"reports.xlsx": damage.of_bytes(_WORKBOOK, rng)}
    rows = [list(row) for row in _REPORT_ROWS]
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(damage.WORDS).encode("utf-8", "replace").decode()
    return {rng.choice(("reports.xlsx", "reports.csv")): workbook(rows)}


def _report_text(rng: random.Random) -> Files:
    pieces = (
        _FINDINGS,
        "SUV max of 8.0 (slice 3), ",
        "prior 7.0 ",
        "FINDINGS:\n",
        "1. ",
        "e.g. ",
        "(",
        "4/77 ",
        "\n\n",
        "Dr. A. Smith ",
        *damage.WORDS,
    )
    few = rng.sample(pieces, rng.randint(1, 4))
    size = rng.choice((200, 2_000, 20_000, 49_000))
    text = ""
    while len(text) < size:
        text += rng.choice(few) or " "
    return {"E1.txt": text[:size].encode("utf-8", "surrogatepass")}


def _read_report_text(folder: Path) -> int:
    frame = read_reports(folder / "E1.txt")
    units = split_report("E1", frame["findings"].item() or "")
    passages = passages_of(units)
    readings = RulesReader().read(passages)
    if len(readings) != len(passages):
        raise WrongResultError("a passage has no reading")
    decide_exam(units, readings, ConsensusSettings())
    return len(units)


def _names(rng: random.Random) -> Files:
    """A cohort whose ids, names and columns are damaged; images are there by name alone."""
    rows = [list(row) for row in _REPORT_ROWS]
    folders = ["E0001", "E0002", "00042"]
    for _ in range(rng.randint(1, 3)):
        word = rng.choice(damage.WORDS)
        if rng.random() < 0.5:
            rows[rng.randrange(1, 4)][rng.randrange(2)] = word
        else:
            folders[rng.randrange(3)] = word
    files = {f"exams/{name}/SUV.nii": b"x" for name in map(_file_name, folders) if name}
    return {"reports.csv": damage.of_table(csv_of(rows), rng) if rng.random() < 0.3 else csv_of(rows), **files}


def _file_name(word: str) -> str:
    name = (
        word.replace("/", "_")
        .replace("\x00", "")
        .encode("utf-8", "surrogateescape" if "\udc80" in word else "replace")[:200]
    )
    return "" if name.strip(b".") == b"" else name.decode("utf-8", "surrogateescape")


def csv_of(rows: Sequence[Sequence[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


def _read_cohort(folder: Path) -> int:
    cohort = scan_cohort(folder)
    for entry in cohort.entries:
        json.dumps(vars(entry)).encode()
        entry.exam_id.encode()
    return len(cohort.entries)


INPUTS = (
    Input(
        "reports: CSV",
        1800,
        lambda rng: {"reports.csv": table_or_bytes(csv_of(_REPORT_ROWS), rng)},
        _read_reports,
        (ReportsError,),
    ),
    Input("reports: workbook", 300, _workbook, _read_reports, (ReportsError,)),
    Input("reports: Parquet", 800, _parquet, _read_reports, (ReportsError,)),
    Input("reports: FHIR", 1500, _fhir, _read_reports, (ReportsError,)),
    Input("reports: text", 300, _report_text, _read_report_text, ()),
    Input("cohort: names", 500, _names, _read_cohort, (CohortError,)),
)
