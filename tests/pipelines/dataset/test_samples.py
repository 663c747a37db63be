"""Samples: texts made of fields and back, numbers masked, and patients who never change their split."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dataset.samples import compose, finding_samples, mask_numbers, parse
from pipelines.dataset.splits import split_of
from pipelines.settings import QUESTION, SampleSettings, SplitSettings
from pipelines.tables import schemas

KEYS = {"exam_id": "E1", "patient_id": "P1", "row_key": "k"}
FIELDS = {"region": "chest", "organ": "lung", "subsite": "left upper lobe", "laterality": "left"}


def tables(**changes: Any) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    lesion = KEYS | {
        "finding_id": "E1:a",
        "outcome": "lesion",
        "mask_path": "masks/E1/a.nii.gz",
        "suvmax": 8.23,
        "suvmax_reported": 8.2,
        "slice": 77,
    }
    finding = KEYS | FIELDS | {"finding_id": "E1:a", "comparison": "increased", "text": "Avid nodule, SUVmax 8.2."}
    exam = KEYS | {"status": "ok", "suv_path": "volumes/E1/SUV.nii"}
    rows = {"lesions": lesion, "findings": finding, "exams": exam}
    made = [schemas.frame(t, [row | {c: v for c, v in changes.items() if c in row}]) for t, row in rows.items()]
    return made[0], made[1], made[2]


WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
EXPECTED_SPLITS = "train train test train val test train train train train test train"


class TestSplitOf:
    @settings(max_examples=50, deadline=None)
    @given(st.text(max_size=20))
    def test_depends_on_the_patient_alone(self, patient: str) -> None:
        assert split_of(patient) == split_of(patient) in ("train", "val", "test")

    def test_shares_are_those_asked_for(self) -> None:
        n = 20_000
        made = [split_of(f"patient-{i}") for i in range(n)]
        assert made.count("test") / n == pytest.approx(0.1, abs=0.01)
        assert made.count("val") / n == pytest.approx(0.1, abs=0.01)

    def test_larger_shares_keep_the_test_patients(self) -> None:
        patients = [f"p{i}" for i in range(500)]
        wide = SplitSettings(val=0.2, test=0.2)
        assert all(split_of(p, wide) == "test" for p in patients if split_of(p) == "test")

    def test_never_changes_between_versions(self) -> None:
        assert " ".join(split_of(f"p{i}") for i in range(12)) == EXPECTED_SPLITS

    def test_nothing_left_to_train_on(self) -> None:
        with pytest.raises(ValueError, match="some patients train"):
            SplitSettings(val=0.5, test=0.5)


class TestCompose:
    def test_fields_in_order(self) -> None:
        text = compose(FIELDS | {"suvmax": 8.2, "slice": 77, "comparison": "new", "findings": "Avid nodule."})
        assert text == (
            "Region: chest. Organ: lung. Sub-site: left upper lobe. Laterality: left. SUVmax: 8.2. Slice: 77. "
            "Comparison: new. Findings: Avid nodule."
        )

    def test_unknown_fields_are_left_out(self) -> None:
        assert compose({"organ": None, "comparison": "none", "slice": 3}) == "Slice: 3."

    @settings(max_examples=60, deadline=None)
    @given(st.fixed_dictionaries({}, optional={name: WORDS for name in ("region", "organ", "subsite", "findings")}))
    def test_parse_is_the_inverse(self, fields: dict[str, str]) -> None:
        parsed = parse(compose(fields))
        assert parsed == {k: v + "." if k == "findings" else v for k, v in fields.items()}


class TestParse:
    def test_text_without_fields(self) -> None:
        assert parse("A nodule in the left lung.") == {}

    def test_labels_inside_the_findings_are_words(self) -> None:
        assert parse("Organ: lung. Findings: Organ: unclear.") == {"organ": "lung", "findings": "Organ: unclear."}

    def test_first_of_a_repeated_field(self) -> None:
        assert parse("Organ: lung. Organ: liver.") == {"organ": "lung"}

    def test_empty_field_is_no_field(self) -> None:
        assert parse("Region: . Organ: lung") == {"organ": "lung"}


class TestMaskNumbers:
    @pytest.mark.parametrize(
        ("text", "masked"),
        [
            ("SUVmax 8.2 on slice 77", "SUVmax [#] on slice [#]"),
            ("nodule of 2.1 x 1.4 cm", "nodule of [#] x [#] cm"),
            ("SUV max of 42, image 88", "SUV max of [#], image [#]"),
            ("L5 and segment 7, station 4R", "L5 and segment 7, station 4R"),
        ],
    )
    def test_measured_numbers_only(self, text: str, masked: str) -> None:
        assert mask_numbers(text) == masked


class TestFindingSamples:
    def test_row_keeps_the_contract(self) -> None:
        good, bad = schemas.validate("samples", finding_samples(*tables()))
        assert (good.height, bad.height) == (1, 0)
        row = good.row(0, named=True)
        assert (row["question"], row["suvmax"], row["split"]) == (QUESTION, 8.23, split_of("P1"))
        assert parse(row["target"])["suvmax"] == "8.2"
        assert parse(row["target"])["findings"] == "Avid nodule, SUVmax 8.2."

    def test_masked_numbers(self) -> None:
        row = finding_samples(*tables(), SampleSettings(mask_numbers=True)).row(0, named=True)
        assert "SUVmax: [#]. Slice: [#]." in row["target"]
        assert row["target"].endswith("Avid nodule, SUVmax [#].")

    def test_what_is_no_lesion_gives_none(self) -> None:
        assert finding_samples(*tables(outcome="ambiguous")).is_empty()

    def test_physiologic_uptake_gives_none(self) -> None:
        lesions, findings, exams = tables()
        marked = [findings.with_columns(is_physiologic=pl.lit(value, pl.Boolean)) for value in (True, False, None)]
        assert [finding_samples(lesions, one, exams).height for one in marked] == [0, 1, 1]

    def test_exam_without_volume_gives_none(self) -> None:
        assert finding_samples(*tables(status="problem")).is_empty()
