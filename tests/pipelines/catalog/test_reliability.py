"""The reliability table of locations against reviewers' answers."""

from pathlib import Path

import duckdb

QUERY = Path(__file__).parents[3] / "sql" / "queries" / "reliability.sql"


def test_counts_answers_by_posterior_and_leaves_out_what_does_not_count():
    con = duckdb.connect()
    con.execute(
        "create table lesions as select * from (values ('sure', 'slice+SUV', 0.999), ('sure too', 'slice+SUV', 0.999), "
        "('less', 'slice+SUV', 0.96), ('picked', 'review', 0.5)) as t (finding_id, evidence, posterior)"
    )
    con.execute(
        "create table reviews as select * from (values ('sure', 'accept', false), ('sure too', 'wrong lesion', false), "
        "('sure', 'wrong lesion', true), ('less', 'unsure', false), ('picked', 'accept', false)) "
        "as t (finding_id, answer, is_stale)"
    )
    columns = "posterior, n_accepted, n_answers, right_part"
    rows = con.sql(f"select {columns} from ({QUERY.read_text()})").fetchall()
    assert rows == [("0.95 to 0.98", 1, 0, None), ("from 0.995", 2, 2, 0.5)]
