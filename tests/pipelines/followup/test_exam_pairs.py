"""Pairs: the exam before each, why there is none, and what is taken over from an earlier call."""

from typing import Any

import numpy as np
import polars as pl

from pipelines.followup.exam_pairs import exam_pairs, registration_of
from pipelines.imaging.volume import Volume
from pipelines.settings import FollowupSettings
from pipelines.tables import schemas
from tests.support.bodies import body, turned

SETTINGS = FollowupSettings()
ASKED: list[str] = []


def exam(name: str, day: str | None, **changes: Any) -> dict[str, Any]:
    row = {"exam_id": name, "patient_id": "P1", "row_key": name, "status": "ok", "tracer": "FDG", "study_date": day}
    return row | {"suv_path": name} | changes


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), infer_schema_length=None)


def volume_of(row: dict[str, Any]) -> Volume:
    ASKED.append(row["exam_id"])
    prior = body()
    return turned(prior, 3.0, (0.0, 0.0, 30.0))[0] if row["exam_id"] == "E2" else prior


def reasons(*rows: dict[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    empty = Volume(np.zeros((8, 8, 8), np.float32), np.eye(4))
    frame = exam_pairs(table(*rows), lambda row: empty, SETTINGS)
    return {row["exam_id"]: (row["prior_exam_id"], row["reason"]) for row in frame.iter_rows(named=True)}


class TestExamPairs:
    def test_says_why_an_exam_has_none(self) -> None:
        found = reasons(
            exam("E1", "2023-01-01"),
            exam("E2", "2023-02-01", tracer="DOTATATE"),
            exam("E3", None),
            exam("E4", "2023-03-01", status="problem"),
            exam("E5", "2023-01-01", patient_id="P2"),
            exam("E6", "2023-01-01", patient_id="P3"),
            exam("E7", "2023-01-01", patient_id="P3"),
        )
        assert found == {
            "E1": (None, "first exam"),
            "E2": (None, "earlier exams have another tracer"),
            "E3": (None, "no study date"),
            "E4": (None, "no volume"),
            "E5": (None, "first exam"),
            "E6": (None, "another exam of the same day, none before"),
            "E7": (None, "another exam of the same day, none before"),
        }

    def test_takes_the_last_one_before_it_and_says_where_it_cannot_be_registered(self) -> None:
        found = reasons(exam("E1", "2023-01-01"), exam("E2", "2023-05-01"), exam("E3", "2023-09-01"))
        assert found["E3"] == ("E2", "not registered")
        assert found["E2"] == ("E1", "not registered")

    def test_keeps_the_registration_and_takes_it_over(self) -> None:
        exams = table(exam("E1", "2023-01-01"), exam("E2", "2023-04-01"))
        good, bad = schemas.validate("exam_pairs", exam_pairs(exams, volume_of, SETTINGS))
        assert bad.height == 0
        row = good.filter(exam_id="E2").row(0, named=True)
        kept = registration_of(row)
        assert (row["days"], kept is not None) == (90, True)
        assert kept is not None
        assert np.linalg.norm(kept.apply(np.array([[0.0, 0.0, -300.0]])) - [[0.0, 0.0, -270.0]]) < 5.0
        assert len(kept.block_mm) == len(kept.block_shift_mm) > 0
        ASKED.clear()
        assert exam_pairs(exams, volume_of, SETTINGS, good).equals(good)
        assert ASKED == []
