"""Exceptions of our own code: rows that say where, masks that stay, and nothing published where they are many."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from pipelines.catalog.build import CatalogError, connect
from pipelines.catalog.publish import publish
from pipelines.catalog.versions import read_history
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.gate import read_outcomes
from pipelines.curation.run import TABLES, open_curation, run_stage
from pipelines.curation.stages import exam_stage, findings_stage, lesion_stage, sentences_stage
from pipelines.imaging.volume import save_nifti
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of

EXAMS = [f"E{n}" for n in range(5)]
SENTENCE = "FDG avid right lower lobe nodule with SUV max of 8.0 (slice 8)."
WORDS = "Jane Doe, born in 1950"
FUNCTIONS = {
    "exams": (exam_stage, "read_exam", lambda path, exam_id, *rest: exam_id),
    "sentences": (sentences_stage, "split_report", lambda exam_id, *rest: exam_id),
    "findings": (findings_stage, "decide_exam", lambda sentences, *rest: sentences[0].exam_id),
    "lesions": (lesion_stage, "find_lesions", lambda suv, requests, *rest: requests[0].finding_id.split(":")[0]),
}
"""Table -> module and function that its stage calls once an exam, and the exam that it is called for."""


def write_reports(cohort: Path, report: str) -> None:
    with (cohort / "reports.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("exam_id", "patient_id", "findings"), *((exam, "P", report) for exam in EXAMS)])


def curate(home: Home, cohort: Path, *, accept_removals: bool = False) -> None:
    observe_cohort(cohort, home.manifest, accept_removals=accept_removals)
    curation = open_curation(home)
    for table in TABLES:
        run_stage(curation, table, shard_of("P"))


def rows(home: Home, table: str) -> dict[str, dict[str, Any]]:
    return {row["exam_id"]: row for row in Lake(home.lake).read_table(table).iter_rows(named=True)}


def masks(home: Home) -> dict[str, bytes]:
    return {str(path.relative_to(home.root)): path.read_bytes() for path in home.masks.rglob("*.nii.gz")}


@pytest.fixture(scope="module")
def published(spheres, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort of five exams of a lesion each, curated and published in `home`."""
    folder = tmp_path_factory.mktemp("failures")
    volume = spheres([((0.0, 0.0, -10.0), 12.0, 8.0)], shape=(32, 30, 16), origin_mm=(-48.0, -45.0, -30.0))
    for exam in EXAMS:
        save_nifti(volume, folder / "cohort" / "exams" / exam / "SUV.nii.gz")
    write_reports(folder / "cohort", SENTENCE)
    curate(Home(folder / "home"), folder / "cohort")
    publish(Home(folder / "home"))
    return folder


@pytest.fixture
def own(published: Path, tmp_path: Path) -> tuple[Path, Home]:
    """A copy of the cohort, whose reports and images changed since, and of its home."""
    shutil.copytree(published, tmp_path / "own")
    cohort = tmp_path / "own" / "cohort"
    write_reports(cohort, f"Findings as told.\n{SENTENCE.replace('FDG avid', 'Metabolically active')}")
    for path in (cohort / "exams").rglob("*.nii.gz"):
        path.write_bytes(path.read_bytes() + bytes(1))
    return cohort, Home(tmp_path / "own" / "home")


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], None]:
    """Makes a stage raise for some exams; `monkeypatch.undo` mends it."""

    def patch(table: str, exams: list[str]) -> None:
        module, name, exam_of = FUNCTIONS[table]
        function = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            if exam_of(*args) in exams:
                raise RuntimeError(WORDS)
            return function(*args, **options)

        monkeypatch.setattr(module, name, call)

    return patch


def test_lesions_are_there_before_anything_fails(published: Path) -> None:
    assert len(masks(Home(published / "home"))) == len(EXAMS)
    assert read_outcomes(Home(published / "home")) == {}


@pytest.mark.parametrize("table", list(FUNCTIONS))
@pytest.mark.parametrize("failing", [EXAMS, EXAMS[:3]])
def test_of_more_than_half_of_the_exams_publishes_nothing(
    table: str, failing: list[str], own: tuple[Path, Home], fail: Callable[[str, list[str]], None], monkeypatch
) -> None:
    cohort, home = own
    history, kept = read_history(home), masks(home)
    fail(table, failing)
    for _ in range(2):
        curate(home, cohort)
        with pytest.raises(
            CatalogError, match=f"{len(failing)} of 5 computed exams failed in `{table}`.*RuntimeError at pipe"
        ):
            publish(home)
    assert read_history(home) == history
    with connect(home) as con:
        assert con.sql("select count(*) from lesions").fetchall() == [(5,)]
    assert {path: data for path, data in kept.items() if path.split("/")[1] in failing}.items() <= masks(home).items()
    monkeypatch.undo()
    curate(home, cohort)
    assert publish(home).catalog.rows["lesions"] == len(EXAMS)


@pytest.mark.parametrize("table", list(FUNCTIONS))
def test_of_one_exam_is_its_row_with_the_place_and_is_tried_again(
    table: str, own: tuple[Path, Home], fail: Callable[[str, list[str]], None], monkeypatch
) -> None:
    cohort, home = own
    kept = {path: data for path, data in masks(home).items() if path.startswith("masks/E1/")}
    fail(table, ["E1"])
    curate(home, cohort)
    assert publish(home).catalog.rows["lesions"] == len(EXAMS) - 1
    assert kept.items() <= masks(home).items()
    failed = rows(home, table).get("E1")
    if table == "sentences":
        assert failed is None
    else:
        message = failed["message"] if table == "exams" else failed["explanation"]
        assert failed["status" if table == "exams" else "outcome"] == "failed"
        assert message.startswith("RuntimeError at pipelines.curation.stages.")
        assert WORDS not in message
    if table == "exams":
        assert rows(home, "lesions")["E1"]["outcome"] == "failed"
    # Its retry, which fails alike and is all that is computed, bars no publication.
    curate(home, cohort)
    assert publish(home).catalog.rows["lesions"] == len(EXAMS) - 1
    monkeypatch.undo()
    curate(home, cohort)
    assert publish(home).catalog.rows["lesions"] == len(EXAMS)
    assert set(masks(home)) == set(rows_of_masks(home))


def rows_of_masks(home: Home) -> list[str]:
    return Lake(home.lake).read_table("lesions")["mask_path"].drop_nulls().to_list()


def test_of_an_exam_that_left_is_forgotten(own: tuple[Path, Home], fail: Callable[[str, list[str]], None]) -> None:
    cohort, home = own
    fail("exams", EXAMS)
    curate(home, cohort)
    (cohort / "reports.csv").write_text("exam_id,patient_id,findings\n")
    shutil.rmtree(cohort / "exams")
    curate(home, cohort)
    assert publish(home).catalog.rows["exams"] == 0


def test_problems_of_the_input_are_no_failures(own: tuple[Path, Home]) -> None:
    cohort, home = own
    shutil.rmtree(cohort / "exams")
    curate(home, cohort, accept_removals=True)
    assert publish(home).catalog.rows["exams"] == len(EXAMS)
    exams = Lake(home.lake).read_table("exams")
    assert exams["problem"].to_list() == ["no exam folder"] * len(EXAMS)
    assert Lake(home.lake).read_table("findings").filter(pl.col("outcome") == "accepted").height == len(EXAMS)


def test_a_lake_of_before_is_brought_up_with_its_masks(published: Path, tmp_path: Path) -> None:
    """The table of lesions was called localisations; its rows, computed under that name, are not computed again."""
    shutil.copytree(published, tmp_path / "own")
    home, shard = Home(tmp_path / "own" / "home"), shard_of("P")
    now = Lake(home.lake).path("lesions", shard)
    table = pq.read_table(now)
    before = home.root / "lake" / "localisations" / now.name
    before.parent.mkdir()
    footer = {key: value for key, value in pq.read_metadata(now).metadata.items() if key.startswith(b"petar.")}
    pq.write_table(table.replace_schema_metadata(footer | {b"petar.table": b"localisations"}), before)
    now.unlink()
    kept, wanted = masks(home), table.to_pylist()
    observe_cohort(tmp_path / "own" / "cohort", home.manifest)
    report = run_stage(open_curation(home), "lesions", shard)
    assert (report.counts.recomputed, report.counts.reused) == (0, len(EXAMS))
    assert report.frame.to_dicts() == wanted
    assert masks(home) == kept
    assert not before.parent.exists()
