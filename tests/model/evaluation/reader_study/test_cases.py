"""Which texts are rated: drawn without regard to order, blind, and never without a key."""

import polars as pl
import pytest

from model.evaluation.reader_study.cases import REPORT, Study, StudyError, key_text, make_study, read_key
from pipelines.settings import StudySettings
from pipelines.tables import schemas

SETTINGS = StudySettings(readers=("One", "Two"), n_cases=4, n_external=2)


def tables(n: int = 8, **changes: object) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    said = [
        {"finding_id": f"E{i}:a", "exam_id": f"E{i}", "patient_id": f"P{i}", "split": "test", "model": "m"}
        | {"text": f"text {i}", "text_measured": f"text {i}, SUVmax 4.2", "reference": f"report {i}"}
        | (changes if i == 0 else {})
        for i in range(n)
    ]
    samples = [{"finding_id": f"E{i}:a", "suv_path": "s", "mask_path": "m"} for i in range(n)]
    external = [
        {"lesion_id": f"X{i}:1", "exam_id": f"X{i}", "patient_id": f"X{i}", "model": "m", "text": "outside"}
        | {"suv_path": "s", "mask_path": "m"}
        for i in range(3)
    ]
    return (
        schemas.frame("predictions", said),
        schemas.frame("samples", samples),
        schemas.frame("external", external),
    )


class TestMakeStudy:
    def test_draws_so_many_cases_whatever_the_order_of_rows(self) -> None:
        predictions, samples, external = tables()
        study = make_study(predictions, samples, external, SETTINGS, "m")
        again = make_study(predictions.reverse(), samples.reverse(), external.reverse(), SETTINGS, "m")
        assert [sum(c.is_external is x for c in study.cases) for x in (False, True)] == [4, 2]
        assert study == again

    def test_another_text_is_another_study(self) -> None:
        first = make_study(*tables(), SETTINGS, "m")
        assert make_study(*tables(text_measured="another"), StudySettings(), "m").study_id != first.study_id

    def test_case_names_nothing_of_the_lesion(self) -> None:
        for case in make_study(*tables(), SETTINGS, "m").cases:
            assert case.exam_id not in case.case_id

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"text": None, "text_measured": None}, "without a text of the model"),
            ({"reference": " "}, "without a report"),
        ],
    )
    def test_what_cannot_be_rated_is_counted(self, change: dict, reason: str) -> None:
        study = make_study(*tables(**change), StudySettings(), "m")
        assert study.left_out == {reason: 1}
        assert "E0:a" not in [case.finding_id for case in study.cases]

    def test_no_text_of_the_model(self) -> None:
        with pytest.raises(StudyError, match="got none"):
            make_study(*(t.clear() for t in tables()), SETTINGS, "m")

    def test_two_readers_of_one_name(self) -> None:
        with pytest.raises(StudyError, match="names of their own"):
            make_study(*tables(), StudySettings(readers=("One", "One")), "m")


class TestStudy:
    def test_readers_see_the_cases_in_orders_of_their_own(self, study: Study) -> None:
        orders = [[c.case_id for c in study.order(reader)] for reader in study.readers]
        assert len({tuple(order) for order in orders}) == 3
        assert len({frozenset(order) for order in orders}) == 1

    def test_the_model_is_on_either_side(self, study: Study) -> None:
        sides = [study.authors(r, c)["A"] for r in study.readers for c in study.cases if c.report is not None]
        assert 5 < sides.count(REPORT) < 25

    def test_texts_carry_no_measured_number(self, study: Study) -> None:
        shown = study.shown("Two", study.cases[0])
        assert all("4.2" not in text and "10" not in text and "[#]" in text for text in shown.values())

    def test_external_case_has_one_text(self, study: Study) -> None:
        assert study.authors("Two", study.cases[-1]) == {"A": study.model}

    def test_key_comes_back(self, study: Study, tmp_path) -> None:
        (tmp_path / "key.json").write_text(key_text(study))
        assert read_key(tmp_path) == study

    def test_no_key_is_a_clear_error(self, tmp_path) -> None:
        with pytest.raises(StudyError, match="expected the key"):
            read_key(tmp_path)
