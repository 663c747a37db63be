"""Keys are made for the exams whose inputs changed, and for no other."""

from pathlib import Path

import pytest

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import TABLES, run_stage
from pipelines.curation.stages import findings_stage
from pipelines.curation.stages.curation import Curation, open_curation
from pipelines.curation.stages.input_digests import READS, digests_of, unchanged_keys
from pipelines.tables.home import Home
from pipelines.tables.shards import shard_of

PATIENT = "P0"
SHARD = shard_of(PATIENT)
EXAMS = ("E0", "E1", "E2")


def observe(home: Path, **changed: str) -> None:
    """Observes three exams of one patient; `changed`: exam -> its number in place of 8.0."""
    texts = [
        f"{e},{PATIENT},Nodule in the left lung with SUV max of {changed.get(e, '8.0')} (slice 8).\n" for e in EXAMS
    ]
    (home.parent / "reports.csv").write_text("exam_id,patient_id,findings\n" + "".join(texts))
    observe_cohort(home.parent, home / "manifest")


@pytest.fixture
def curation(tmp_path: Path) -> Curation:
    """Three reports without images, curated."""
    home = tmp_path / "home"
    observe(home)
    curation = open_curation(Home(home))
    for table in TABLES:
        run_stage(curation, table, SHARD)
    return curation


def up_to(curation: Curation, last: str) -> None:
    for table in TABLES[: TABLES.index(last)]:
        run_stage(curation, table, SHARD)


def test_only_the_exam_that_changed_is_opened(curation: Curation, monkeypatch: pytest.MonkeyPatch) -> None:
    observe(curation.home.root, E1="9.0")
    up_to(curation, "findings")
    opened: list[set[str]] = []
    read = findings_stage.readings_of

    def counted(rows: list[dict[str, object]]) -> object:
        opened.append({str(row["exam_id"]) for row in rows})
        return read(rows)

    monkeypatch.setattr(findings_stage, "readings_of", counted)
    counts = run_stage(curation, "findings", SHARD).counts
    assert (counts.recomputed, counts.reused) == (1, 2)
    assert opened == [{"E1"}]


def test_a_change_shows_in_the_digest_of_its_exam_alone(curation: Curation) -> None:
    before = digests_of(curation, "findings", SHARD)
    observe(curation.home.root, E2="9.0")
    up_to(curation, "findings")
    after = digests_of(curation, "findings", SHARD)
    assert {exam for exam in EXAMS if before[exam] != after[exam]} == {"E2"}


def test_an_exam_that_was_left_out_is_found_by_the_next_update(curation: Curation) -> None:
    observe(curation.home.root, E0="9.0", E1="9.0")
    up_to(curation, "findings")
    assert run_stage(curation, "findings", SHARD, only=["E0"]).counts.recomputed == 1
    assert run_stage(curation, "findings", SHARD).counts.recomputed == 1


def test_other_common_inputs_or_a_missing_key_make_the_key_anew() -> None:
    before = {"common": "a", "keys": {"E0": "k"}, "digests": {"E0": 1, "E1": 2}}
    assert unchanged_keys(before, {"E0": 1, "E1": 2}, "a") == {"E0": "k"}
    assert unchanged_keys(before, {"E0": 3}, "a") == {}
    assert unchanged_keys(before, {"E0": 1}, "b") == {}


@pytest.mark.parametrize("table", TABLES)
def test_tables_that_a_stage_reads_come_before_it(table: str) -> None:
    assert set(READS[table]) <= set(TABLES[: TABLES.index(table)])
