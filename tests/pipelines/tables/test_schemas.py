"""Contracts of the tables: what keeps them, what breaks them, and how they are told."""

from pathlib import PurePosixPath
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tables import schemas
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.outcomes import Outcome

KEYS = {"exam_id": "E1", "patient_id": "P1", "row_key": "k"}


def lesion(**changes: Any) -> dict[str, Any]:
    row = KEYS | {
        "finding_id": "E1:0000abcd",
        "outcome": Outcome.LESION,
        "slice": 10,
        "suvmax_reported": 8.0,
        "n_voxels": 100,
        "voxel_ml": 0.027,
        "suvmax": 8.02,
        "suvmean": 5.0,
        "mtv_ml": 2.7,
        "tlg": 13.5,
        "mask_path": PurePosixPath("masks/E1/a.nii.gz"),
    }
    row |= {f"{what}_{axis}_mm": 1.0 for what in ("peak", "centroid") for axis in "xyz"}
    row |= {f"box_{axis}0": 3 for axis in "ijk"} | {f"box_{axis}1": 9 for axis in "ijk"}
    return row | changes


def broken(table: str, *rows: dict[str, Any]) -> list[str]:
    return schemas.validate(table, schemas.frame(table, rows))[1]["broken"].to_list()


class TestEveryTable:
    @pytest.mark.parametrize("table", schemas.TABLES)
    def test_empty_keeps_the_contract(self, table: str) -> None:
        good, bad = schemas.validate(table, schemas.empty(table))
        assert good.schema == pl.Schema(schemas.types_of(table))
        assert (good.height, bad.height) == (0, 0)

    @pytest.mark.parametrize("table", schemas.TABLES)
    def test_every_column_is_described(self, table: str) -> None:
        assert all(len(c.description) > 3 for c in schemas.describe(table))
        assert len(schemas.describe_table(table)) > 10

    @pytest.mark.parametrize("table", schemas.TABLES)
    def test_units_follow_the_suffix(self, table: str) -> None:
        suffixes = {"_mm": "mm", "_ml": "mL", "_bq": "Bq", "_kg": "kg", "_s": "s", "_suv": "SUV"}
        for column in schemas.describe(table):
            for suffix, unit in suffixes.items():
                if column.type == "real" and column.name.endswith(suffix):
                    assert column.unit == unit, column.name

    @pytest.mark.parametrize("table", schemas.SHARDED)
    def test_sharded_rows_begin_with_their_keys(self, table: str) -> None:
        assert list(schemas.types_of(table))[:3] == ["exam_id", "patient_id", "row_key"]

    def test_every_outcome_belongs_to_one_stage_but_two_to_both(self) -> None:
        both = {Outcome.FAILED, Outcome.NOTHING_TO_LOCATE_BY}
        assert set(schemas.TEXT_OUTCOMES) & set(schemas.IMAGE_OUTCOMES) == both
        assert set(schemas.TEXT_OUTCOMES) | set(schemas.IMAGE_OUTCOMES) == set(Outcome)

    def test_unknown_table_is_named(self) -> None:
        with pytest.raises(schemas.ContractError, match="got 'lesionz'"):
            schemas.empty("lesionz")


class TestFrame:
    def test_plain_values_of_enums_paths_and_sequences(self) -> None:
        frame = schemas.frame("lesions", [lesion(shares_with=("E1:2", "E1:3"))])
        row = frame.row(0, named=True)
        assert (row["outcome"], row["mask_path"], row["shares_with"]) == ("lesion", "masks/E1/a.nii.gz", "E1:2, E1:3")
        assert frame.schema == pl.Schema(schemas.types_of("lesions"))

    def test_whole_reals_become_integers(self) -> None:
        assert schemas.frame("lesions", [lesion(slice=10.0, suvmax=8)])["slice"].to_list() == [10]

    @pytest.mark.parametrize("wrong", [10.5, "ten"])
    def test_lossy_value_is_named(self, wrong: object) -> None:
        with pytest.raises(schemas.ContractError, match=f"column slice: expected Int64, got {wrong!r}"):
            schemas.frame("lesions", [lesion(slice=wrong)])

    def test_unknown_column_is_named(self) -> None:
        with pytest.raises(schemas.ContractError, match="got colour"):
            schemas.frame("lesions", [lesion(colour="red")])


class TestValidate:
    def test_whole_lesion_is_good(self) -> None:
        good, bad = schemas.validate("lesions", schemas.frame("lesions", [lesion()]))
        assert (good.height, bad.height) == (1, 0)

    @pytest.mark.parametrize(
        ("change", "rule"),
        [
            ({"suvmax": None}, "lesion_is_measured"),
            ({"suvmean": 9.0, "tlg": 24.3}, "mean_under_max"),
            ({"mtv_ml": 4.0, "tlg": 20.0}, "volume_is_voxels"),
            ({"tlg": 14.0}, "tlg_is_product"),
            ({"box_i1": 3}, "box_in_order"),
            ({"suvmax_reported": -1.0}, "suvmax_reported|min"),
            ({"spacing_i_mm": 0.0}, "spacing_i_mm|min_exclusive"),
            ({"background_suv": float("nan")}, "background_suv|nan"),
            ({"background_suv": float("inf")}, "background_suv|inf"),
            ({"outcome": "lost"}, "outcome|check__choices"),
            ({"exam_id": None}, "exam_id|nullability"),
            ({"method": ""}, "method|min_length"),
        ],
    )
    def test_broken_row_names_its_rule(self, change: dict[str, Any], rule: str) -> None:
        assert broken("lesions", lesion(**change)) == [rule]

    def test_rejected_finding_needs_no_measures(self) -> None:
        row = KEYS | {"finding_id": "E1:1", "outcome": Outcome.NOT_IN_IMAGE, "explanation": "nearest 3.1"}
        assert broken("lesions", row) == []

    def test_equal_keys_are_all_set_aside(self) -> None:
        assert broken("lesions", lesion(), lesion(), lesion(finding_id="E1:1")) == ["primary_key", "primary_key"]

    def test_problem_needs_a_message(self) -> None:
        row = KEYS | {"shard": 3, "status": "problem", "problem": ExamProblem.NO_PET}
        assert broken("exams", row) == ["problem_has_reason"]
        assert broken("exams", row | {"message": "no PET below the folder"}) == []

    def test_uncomputed_score_has_no_value(self) -> None:
        row = {
            "model": "m",
            "split": "test",
            "metric": "GREEN",
            "numbers": "raw",
            "subset": "all",
            "status": "not computed",
            "note": "no server",
        }
        assert broken("scores", row) == []
        assert broken("scores", row | {"value": 0.0}) == ["not_computed_has_note_and_no_value"]

    def test_missing_nullable_columns_become_null(self) -> None:
        frame = schemas.frame("lesions", [lesion()]).drop("diameter_mm")
        assert schemas.validate("lesions", frame)[0]["diameter_mm"].to_list() == [None]

    def test_missing_required_column_is_named(self) -> None:
        with pytest.raises(schemas.ContractError, match="required columns are missing: finding_id"):
            schemas.validate("lesions", schemas.frame("lesions", [lesion()]).drop("finding_id"))

    def test_unknown_column_is_named(self) -> None:
        frame = schemas.frame("lesions", [lesion()]).with_columns(colour=pl.lit("red"))
        with pytest.raises(schemas.ContractError, match="got colour too"):
            schemas.validate("lesions", frame)

    def test_fraction_in_integer_column_is_not_cut_off(self) -> None:
        frame = schemas.frame("lesions", [lesion(), lesion(finding_id="E1:1")])
        good, bad = schemas.validate("lesions", frame.with_columns(slice=pl.Series([10.5, 11.0])))
        assert (good["slice"].to_list(), bad["broken"].to_list()) == ([11], ["slice|whole"])

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=8))
    def test_no_row_is_lost(self, spans: list[tuple[int, int]]) -> None:
        rows = [
            KEYS | {"sentence_id": f"E1:{i}", "sentence": "x", "start": a, "end": b, "is_candidate": False}
            for i, (a, b) in enumerate(spans)
        ]
        good, bad = schemas.validate("sentences", schemas.frame("sentences", rows))
        assert good.height + bad.height == len(rows)
        assert good["sentence_id"].to_list() == [f"E1:{i}" for i, (a, b) in enumerate(spans) if 0 <= a < b]
