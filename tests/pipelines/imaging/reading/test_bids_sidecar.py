"""SUV of a sidecar: the factor, and what is missing or impossible."""

import pytest

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.bids_sidecar import suv_of_sidecar
from pipelines.tables.exam_problems import ExamProblem

SIDECAR = {
    "InjectedRadioactivity": 350,
    "InjectedRadioactivityUnits": "MBq",
    "PatientWeight": 70,
    "TracerRadionuclide": "F18",
    "InjectionStart": -3600,
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
}


def test_the_factor_decays_the_dose_to_the_time_of_the_image() -> None:
    scale = suv_of_sidecar(SIDECAR, "bq/ml")
    assert scale.factor == pytest.approx(70_000 / (3.5e8 * 2 ** (-3600 / 6586.2)))
    assert (scale.injected_dose_bq, scale.weight_kg, scale.uptake_s) == (3.5e8, 70, 3600)
    assert suv_of_sidecar(SIDECAR, "kbq/ml").factor == pytest.approx(1000 * scale.factor)


@pytest.mark.parametrize("nuclide", ["F18", "18F", "[18F]", "F-18", "f18"])
def test_a_nuclide_may_be_written_in_any_order(nuclide: str) -> None:
    assert suv_of_sidecar(SIDECAR | {"TracerRadionuclide": nuclide}, "bq/ml").half_life_s == 6586.2


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(ExamError, match="lacks PatientWeight, InjectionStart:") as caught:
        suv_of_sidecar(SIDECAR | {"PatientWeight": None, "InjectionStart": ""}, "bq/ml")
    assert caught.value.problem is ExamProblem.MISSING_TAG


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("InjectedRadioactivity", 0),
        ("InjectedRadioactivity", "350"),
        ("InjectedRadioactivity", 10**400),
        ("InjectedRadioactivityUnits", "dpm"),
        ("PatientWeight", 70_000),
        ("PatientWeight", float("nan")),
        ("TracerRadionuclide", "Tc99m"),
        ("InjectionStart", True),
        ("ImageDecayCorrectionTime", 1e9),
        ("ImageDecayCorrected", False),
    ],
)
def test_what_is_impossible_is_refused(name: str, value: object) -> None:
    with pytest.raises(ExamError):
        suv_of_sidecar(SIDECAR | {name: value}, "bq/ml")
