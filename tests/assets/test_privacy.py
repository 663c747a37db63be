"""No identifier reaches what is written: an exam whose header and report are full of them, through curation, review
and Dagster's own storage, and every file that is there afterwards read through.
"""

import contextlib
import csv
import gzip
import json
import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pyarrow.parquet as pq
import pydicom
import pytest
from PIL import Image

from assets.definitions import build_defs
from assets.resources import Workspace
from pipelines.catalog.build import connect
from pipelines.cohort.privacy.deidentification import Pseudonyms
from pipelines.settings import COHORT_SETTINGS_NAME
from pipelines.tables.home import Home
from pipelines.tables.shards import shard_name, shard_of

SWITCHES = "[privacy]\nmask_reports = true\nhash_ids = true\n"
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
HEADER = {
    "PatientName": "Quasimodo^Esmeralda^Q",
    "PatientID": "HDR-556677",
    "OtherPatientIDs": "OLD-998811",
    "PatientBirthDate": "19330417",
    "PatientAddress": "17 Rue Gringoire",
    "PatientTelephoneNumbers": "608-555-0199",
    "AccessionNumber": "ACC7766554",
    "StudyID": "STUDY8812",
    "ReferringPhysicianName": "Frollo^Claude",
    "OperatorsName": "Phoebus^Captain",
    "InstitutionName": "Notre-Dame Infirmary",
    "StationName": "STATION4711",
    "DeviceSerialNumber": "SER-313373",
    "StudyDate": "20190611",
    "PatientComments": "knows Djali",
    "Occupation": "Bellringer",
    "EthnicGroup": "Egyptienne",
    "ImageComments": "asked by Tristan",
    "StudyDescription": "for Florian",
    "ProtocolName": "WB Gudule",
}
# Parts of them, as a text would show them.
IN_HEADER = ["quasimodo", "esmeralda", "hdr-556677", "old-998811", "19330417", "gringoire", "608-555-0199"]
IN_HEADER += ["acc7766554", "study8812", "frollo", "phoebus", "notre-dame", "station4711", "ser-313373", "djali"]
IN_HEADER += ["bellringer", "egyptienne", "tristan", "florian", "gudule", "trouillefou", "clopin"]
IN_FILES = ["zebrowski", "55512345", "lenoir", "robichaud"]
IN_REPORT = ["jehan", "moulin", "4455667", "555-1234", "06/11/2019", "rec-0099", "okonkwo", "abelard", "10.20.30.41"]
IN_REPORT += [
    "phrollo",
    "de89370400440532013000",
    "pinecrest",
    "marquette",
    "7719034",
    "thibodeaux",
    "2020-02-19",
    "gaston",
]
IDS = ["exam-8842", "mrn-31415"]


@pytest.fixture(scope="module")
def cohort(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One DICOM exam of the phantom, its header and report full of identifiers."""
    folder = tmp_path_factory.mktemp("identified") / "cohort"
    rows = pl.read_csv(small_cohort / "reports.csv", infer_schema=False)
    with_pet = {
        p.relative_to(small_cohort / "exams").parts[0]
        for p in (small_cohort / "exams").rglob("*.dcm")
        if p.stat().st_size
    }
    source = next(e for e in rows["exam_id"] if e in with_pet and "SUV" in rows.filter(exam_id=e)["findings"][0])
    shutil.copytree(small_cohort / "exams" / source, folder / "exams" / "EXAM-8842")
    paths = sorted((folder / "exams").rglob("*.dcm"))
    for path in paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in HEADER.items():
            setattr(dataset, keyword, value)
        dataset.SeriesDescription = f"{dataset.get('SeriesDescription', '')} QUASIMODO_ESMERALDA HDR-556677 WB"
        dataset.SeriesDescription += " TROUILLEFOU"
        for item in dataset.get("RadiopharmaceuticalInformationSequence", ()):
            item.Radiopharmaceutical = f"{item.get('Radiopharmaceutical', '')} CLOPIN"
        dataset.add_new(0x00091010, "LO", "Trouillefou private")
        dataset.save_as(path)
    # Files that cannot be read: one beside the images, one that is all there is of an exam.
    for place in ("EXAM-8842/Robichaud", "EXAM-8843/Lenoir"):
        damaged = folder / "exams" / place / "ZEBROWSKI_QUENTIN_MRN55512345.dcm"
        damaged.parent.mkdir(parents=True)
        damaged.write_bytes(paths[0].read_bytes()[:400])
    report = rows.filter(exam_id=source)["findings"][0]
    report += " Discussed with Dr. Jehan Moulin (608-555-1234) on 06/11/2019, MRN 4455667, patient MRN-31415."
    report += " Record number REC-0099. Okonkwo asked for it. Seen by Abelard, 93, of Marquette. Sent from 10.20.30.41."
    report += (
        " IBAN DE89370400440532013000. Prior PET of 2020-02-19 from Pinecrest Imaging Associates, accession 7719034."
    )
    report += " Thibodeaux, Gaston was told."
    with (folder / "reports.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["exam_id", "patient_id", "findings", "study_date", "tracer"],
                ["EXAM-8842", "MRN-31415", report, "2019-06-11", "FDG for Phrollo"],
                ["EXAM-8843", "MRN-31415", "Node of Okonkwo on 2020-02-19.", "2020-02-19", "Phrollo"],
            ]
        )
    return folder


JOBS = ("observe", "curate_shard", "publish", "review", "export")


def curate(cohort: Path, home: Path, patient: str, jobs: Sequence[str] = JOBS) -> None:
    """Observes, curates the one shard, publishes and reviews, on a Dagster instance whose storage is in the home."""
    workspace = Workspace(cohort=str(cohort), home=str(home))
    defs = build_defs(workspace)
    (home / "dagster").mkdir(parents=True)
    quiet = {"telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(home / "dagster"), overrides=quiet) as instance:
        for name in jobs:
            shard = shard_name(shard_of(patient)) if name == "curate_shard" else None
            assert defs.resolve_job_def(name).execute_in_process(instance=instance, partition_key=shard).success


def values(path: Path) -> str:
    """What a file of tables or a picture holds, decoded: values, statistics, texts."""
    if path.suffix == ".parquet":
        rows = pl.read_parquet(path, glob=False).to_dicts()
        return json.dumps([rows, pq.read_metadata(path).to_dict()], default=str, ensure_ascii=False)
    if path.suffix in (".db", ".sqlite"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as con:
            return "\n".join(con.iterdump())
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as con:
            views = [name for (name,) in con.sql("select view_name from duckdb_views() where not internal").fetchall()]
            return "\n".join(str(con.sql(f'select * from "{view}"').fetchall()) for view in views)
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return str(picture.info)
    if path.suffix == ".dcm":
        return str(pydicom.dcmread(path, force=True))
    return ""


Contents = list[tuple[str, bytes]]


def contents(folder: Path) -> Contents:
    """(path, bytes in lower case) of every file: its name, its bytes, of a compressed one its content, and what
    `values` tells.
    """
    found: Contents = []
    for path in sorted(folder.rglob("*")):
        found.append((str(path), os.fsencode(path.name).lower()))
        if path.is_symlink() or not path.is_file():
            continue
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found.append((str(path), data.lower()))
        if told := values(path):
            found.append((str(path), told.lower().encode("utf-8", "surrogatepass")))
    return found


def leaks(found: Contents, words: list[str]) -> list[tuple[str, str]]:
    """(path, word) wherever one of the words (in lower case) stands, as UTF-8 or UTF-16."""
    forms = [(word, form) for word in words for form in (word.encode(), word.encode("utf-16-le"))]
    return [(path, word) for path, data in found for word, form in forms if form in data]


def curated_with_key(masked: Path, jobs: Sequence[str] = JOBS) -> Path:
    """The home of the cohort in a folder, curated with the key."""
    (masked / "key").write_text(KEY)
    os.environ["PETAR_ID_KEY_FILE"] = str(masked / "key")
    try:
        curate(masked / "cohort", masked / "home", Pseudonyms(KEY.encode()).patient("MRN-31415"), jobs)
    finally:
        del os.environ["PETAR_ID_KEY_FILE"]
    return masked / "home"


@pytest.mark.slow
class TestWithTheSwitchesOff:
    @pytest.fixture(scope="class")
    @classmethod
    def home(cls, cohort: Path) -> Path:
        home = cohort.parent / "plain"
        curate(cohort, home, "MRN-31415")
        return home

    def test_no_identifier_of_the_header_is_in_any_file(self, home: Path) -> None:
        assert leaks(contents(home), [*IN_HEADER, *IN_FILES]) == []

    def test_what_is_exported_names_nobody(self, home: Path) -> None:
        paths = sorted((home / "exports").rglob("*.dcm"))
        assert [path.name for path in paths] == ["lesions.dcm", "lesions_labelmap.dcm"]
        for exported in map(pydicom.dcmread, paths):
            assert (str(exported.PatientName), exported.PatientID, exported.StudyDate) == ("", "", "")
            assert exported.StudyInstanceUID

    def test_the_exam_is_used_and_its_description_kept_without_them(self, home: Path) -> None:
        with connect(Home(home)) as con:
            rows = con.sql("select status, series_description from exams order by exam_id").fetchall()
        assert [status for status, _ in rows] == ["ok", "problem"]
        assert "[removed]" in rows[0][1]
        assert "WB" in rows[0][1]

    def test_identifiers_of_the_report_are_counted_in_the_catalog(self, home: Path) -> None:
        with connect(Home(home)) as con:
            rows = con.sql("select kind, n, is_masked from identifiers order by kind").fetchall()
        assert {kind for kind, _, _ in rows} >= {"date", "mrn", "name", "phone", "record id"}
        assert not any(masked for *_, masked in rows)


@pytest.mark.slow
class TestWithTheSwitchesOn:
    @pytest.fixture(scope="class")
    @classmethod
    def home(cls, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        masked = tmp_path_factory.mktemp("masked")
        shutil.copytree(cohort, masked / "cohort")
        (masked / "cohort" / COHORT_SETTINGS_NAME).write_text(SWITCHES)
        return curated_with_key(masked)

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, home: Path) -> Contents:
        return contents(home)

    def test_no_identifier_and_no_id_is_in_any_file_or_path(self, found: Contents) -> None:
        assert leaks(found, [*IN_HEADER, *IN_FILES, *IN_REPORT, *IDS]) == []

    def test_the_key_is_in_no_file(self, found: Contents) -> None:
        assert leaks(found, [KEY]) == []

    def test_what_is_sought_would_be_found(self, found: Contents, home: Path) -> None:
        assert leaks([*found, ("x", b"of QUASIMODO".lower())], IN_HEADER) == [("x", "quasimodo")]
        assert len(found) > 50

    def test_lesions_are_those_of_the_plain_curation(self, home: Path, cohort: Path) -> None:
        """The same ones, found on the same slices with the same measures, under other names."""
        measured = "select slice, suvmax_reported, suvmax, mtv_ml from lesions order by all"
        with connect(Home(home)) as con, connect(Home(cohort.parent / "plain")) as plain:
            assert con.sql(measured).fetchall() == plain.sql(measured).fetchall() != []


@pytest.mark.slow
def test_no_name_of_a_fhir_file_or_in_a_resource_is_in_any_file_or_path(tmp_path: Path) -> None:
    folder = tmp_path / "cohort" / "reports"
    folder.mkdir(parents=True)
    (tmp_path / "cohort" / "exams").mkdir()
    (tmp_path / "cohort" / COHORT_SETTINGS_NAME).write_text(SWITCHES)
    report = {
        "resourceType": "DiagnosticReport",
        "id": "EXAM-8842",
        "identifier": [{"value": "EXAM-8842"}],
        "status": "final",
        "subject": {"reference": "Patient/MRN-31415", "display": "Quasimodo, Esmeralda"},
        "performer": [{"display": "Dr. Frollo"}],
        "conclusion": "Node with SUVmax 8.1 (slice 12), told Dr. Jehan Moulin on 06/11/2019.",
    }
    (folder / "ZEBROWSKI_QUENTIN_MRN55512345.json").write_text(json.dumps(report))
    (folder / "Robichaud.json").write_text(json.dumps(report)[:-40])
    (folder / "Lenoir.json").write_text('{"resourceType": "DiagnosticReport", "subject": {"display": "Okonkwo"}}')
    home = curated_with_key(tmp_path, ("observe", "curate_shard", "publish"))
    found = contents(home)
    assert leaks(found, [*IN_HEADER, *IN_FILES, *IN_REPORT, *IDS]) == []
    with connect(Home(home)) as con:
        assert con.sql("select count(*) from exams").fetchall() != [(0,)]
