"""Findings with nothing to locate by, beside the candidates of their exam."""

from pathlib import Path

import duckdb
import pytest

QUERY = Path(__file__).parents[3] / "sql" / "queries" / "nothing_to_locate.sql"


@pytest.fixture
def con():
    con = duckdb.connect()
    con.execute(
        "create table findings as select * from (values "
        "('E1', 'E1:slice', 90, 'left', 'lung', 'nothing to locate by', 'Nodule on the left (slice 90).'), "
        "('E1', 'E1:place', null, null, 'liver', 'nothing to locate by', 'Lesion of the liver.'), "
        "('E2', 'E2:alone', 12, null, null, 'nothing to locate by', 'Focus on slice 12.'), "
        "('E1', 'E1:other', 90, null, null, 'accepted', 'Mass (slice 90, SUVmax 5.0).')"
        ") as t (exam_id, finding_id, slice, laterality, organ, outcome, sentence)"
    )
    con.execute(
        "create table candidates as select *, suvmax / 2 as prominence_suv from (values "
        "('E1', 'near', 92, 'left', 'lung', 8.0), ('E1', 'middle', 89, null, null, 4.0), "
        "('E1', 'right', 90, 'right', 'lung', 9.0), ('E1', 'far', 40, 'left', 'liver', 7.0), "
        "('E3', 'elsewhere', 12, null, null, 7.0)"
        ") as t (exam_id, candidate_id, slice, side, organ, suvmax)"
    )
    return con


def shown(con, finding):
    rows = con.sql(QUERY.read_text()).pl().filter(finding_id=finding)
    return rows["candidate_id"].to_list()


def test_candidates_lie_about_the_slice_and_not_on_the_other_side(con):
    assert shown(con, "E1:slice") == ["near", "middle"]


def test_without_a_slice_all_of_the_exam_are_shown_the_most_prominent_first(con):
    assert shown(con, "E1:place") == ["right", "near", "far", "middle"]


def test_a_finding_without_candidates_stays_in_the_list(con):
    assert shown(con, "E2:alone") == [None]


def test_other_findings_are_not_listed(con):
    assert shown(con, "E1:other") == []


def test_at_most_six_are_shown(con):
    con.execute("insert into candidates select 'E2', 'c' || i, 12, null, null, 3.0, 2.0 from range(9) as r (i)")
    assert len(shown(con, "E2:alone")) == 6
