"""A reader that queries in a loop while the tables are rewritten: 1,000 answers, no error, and never half of a
state.
"""

import threading
from pathlib import Path

import pytest

from pipelines.catalog.build import build_catalog, connect
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of

N_QUERIES = 1000
PER_CONNECTION = 5
EXAMS = {f"E{i}": f"P{i}" for i in range(3)}


def curate(home: Home, state: int) -> None:
    """Rewrite all tables so that every row says which state it is of, and their number grows with it; then the
    catalog.
    """
    lake = Lake(home.root / "lake")
    for exam, patient in EXAMS.items():
        keys = {"exam_id": exam, "patient_id": patient, "row_key": str(state)}
        names = [f"{exam}:{n}" for n in range(1 + state % 5)]
        findings = [
            keys | {"finding_id": n, "sentence_id": n, "sentence": "x", "slice": state, "suvmax_reported": 5.0}
            for n in names
        ]
        lesions = [keys | {"finding_id": n, "outcome": "not in the image", "slice": state} for n in names]
        shard = shard_of(patient)
        lake.write_shard(
            "findings", shard, schemas.frame("findings", [f | {"outcome": "accepted"} for f in findings]), {}
        )
        lake.write_shard("lesions", shard, schemas.frame("lesions", lesions), {})
    build_catalog(home)


CONSISTENT = """
    SELECT
        count(DISTINCT f.row_key),
        count(DISTINCT l.row_key),
        min(f.row_key) = min(l.row_key),
        count(*) FILTER (f.finding_id IS NULL OR l.finding_id IS NULL)
    FROM lake.findings AS f FULL JOIN lake.lesions AS l USING (finding_id)
"""


@pytest.mark.slow
class TestReaderInALoop:
    def test_sees_no_error_and_no_half_state(self, tmp_path: Path) -> None:
        curate(Home(tmp_path), 0)
        done = threading.Event()
        states: list[int] = []
        faults: list[BaseException] = []

        def rewrite() -> None:
            try:
                while not done.is_set():
                    states.append(len(states) + 1)
                    curate(Home(tmp_path), states[-1])
            except BaseException as error:
                faults.append(error)

        writer = threading.Thread(target=rewrite)
        writer.start()
        try:
            for _ in range(N_QUERIES // PER_CONNECTION):
                with connect(Home(tmp_path)) as con:
                    answers = {con.execute(CONSISTENT).fetchone() for _ in range(PER_CONNECTION)}
                assert answers == {(1, 1, True, 0)}
        finally:
            done.set()
            writer.join()
        assert faults == []
        assert len(states) > 5
