"""SUV from attributes, beside hand-made cases; the published reference objects are in tests/real."""

import math

import numpy as np
import pytest

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.radiopharmaceutical import nuclide_of
from pipelines.imaging.reading.suv import suv_scale
from pipelines.settings import Norm, SuvSettings
from pipelines.tables.exam_problems import ExamProblem

HOUR_LATER = 70_000 / (370e6 * 2 ** (-3600 / 6586.2))


class TestSuvScale:
    def test_decays_the_dose_to_the_series_time(self, header):
        scale = suv_scale([header()])
        assert scale.factors == pytest.approx([HOUR_LATER])
        assert (scale.uptake_s, scale.injected_dose_bq, scale.weight_kg, scale.norm) == (3600, 370e6, 70, Norm.BW)

    def test_uses_the_slope_of_each_slice(self, header):
        scale = suv_scale([header(RescaleSlope="2"), header(RescaleSlope="0.5")])
        assert scale.factors == pytest.approx([2 * HOUR_LATER, 0.5 * HOUR_LATER])

    def test_takes_the_dose_as_administered_where_the_image_is_corrected_to_then(self, header):
        assert suv_scale([header(DecayCorrection="ADMIN")]).factors == pytest.approx([70_000 / 370e6])

    def test_brings_each_slice_to_its_own_time_where_nothing_is_corrected(self, header):
        def at(time):
            return header(
                DecayCorrection="NONE", CorrectedImage=["ATTN"], AcquisitionTime=time, ActualFrameDuration="60000"
            )

        early, late = suv_scale([at("110000"), at("120000")]).factors
        assert late / early == pytest.approx(2 ** (3600 / 6586.2))

    def test_crosses_midnight_by_the_time_of_day(self, header):
        late = header(SeriesTime="003000", AcquisitionTime="003000", RadiopharmaceuticalStartTime="233000")
        assert suv_scale([late]).uptake_s == 3600

    def test_prefers_the_acquisition_where_the_series_time_is_that_of_a_later_reconstruction(self, header):
        frames = header(
            SeriesTime="150000", AcquisitionTime="110500", ActualFrameDuration="600000", FrameReferenceTime="600000"
        )
        scale = suv_scale([frames])
        decay = math.log(2) / 6586.2
        average = math.log(decay * 600 / (1 - math.exp(-decay * 600))) / decay
        assert scale.uptake_s == pytest.approx(3600 + 300 + average - 600)

    def test_takes_the_half_life_of_the_nuclide_where_none_is_stated(self, header):
        from pydicom.dataset import Dataset

        code = Dataset()
        code.CodeValue, code.CodeMeaning = "C-131A3", "^68^Gallium"
        dataset = header(RadionuclideHalfLife=None, RadionuclideCodeSequence=[code])
        assert suv_scale([dataset]).half_life_s == pytest.approx(4057.74)

    @pytest.mark.parametrize(
        ("changes", "dose_bq", "weight_kg"),
        [({"RadionuclideTotalDose": "370"}, 370e6, 70), ({"PatientWeight": "70000"}, 370e6, 70)],
    )
    def test_mends_units_that_can_only_be_one_thing(self, header, changes, dose_bq, weight_kg):
        scale = suv_scale([header(**changes)])
        assert (scale.injected_dose_bq, scale.weight_kg) == (dose_bq, weight_kg)

    @pytest.mark.parametrize(
        ("norm", "grams"),
        [
            (Norm.LBM_JAMES, 1000 * (1.10 * 70 - 128 * (70 / 175) ** 2)),
            (Norm.LBM_JANMA, 1000 * 9270 * 70 / (6680 + 216 * 70 / 1.75**2)),
            (Norm.BSA, 1e4 * 0.007184 * 175**0.725 * 70**0.425),
            (Norm.IBW, 1000 * (48 + 1.06 * (175 - 152))),
        ],
    )
    def test_normalises_by_what_is_asked_for(self, header, norm, grams):
        ratio = suv_scale([header()], SuvSettings(norm=norm)).factors / suv_scale([header()]).factors
        assert ratio == pytest.approx(grams / 70_000)

    def test_leaves_an_image_in_suv_as_it_is(self, header):
        scale = suv_scale([header(Units="GML", RescaleSlope="0.01", RadionuclideTotalDose=None)])
        assert scale.factors == pytest.approx([0.01])
        assert scale.injected_dose_bq is None

    def test_uses_the_philips_factor_for_counts(self, header):
        dataset = header(Units="CNTS")
        dataset.add_new((0x7053, 0x1000), "DS", "0.00055")
        assert suv_scale([dataset]).factors == pytest.approx([0.00055])

    def test_uses_the_philips_activity_factor_where_the_suv_factor_is_zero(self, header):
        dataset = header(Units="CNTS")
        dataset.add_new((0x7053, 0x1000), "DS", "0")
        dataset.add_new((0x7053, 0x1009), "UN", b"2.5")
        assert suv_scale([dataset]).factors == pytest.approx([2.5 * HOUR_LATER])


class TestRefusal:
    @pytest.mark.parametrize(
        ("changes", "problem", "tag"),
        [
            ({"Units": None}, ExamProblem.MISSING_TAG, "0054,1001"),
            ({"Units": "PROPCPS"}, ExamProblem.UNSUPPORTED_UNITS, "0054,1001"),
            ({"Units": "CNTS"}, ExamProblem.UNSUPPORTED_UNITS, "7053,1000"),
            ({"CorrectedImage": None}, ExamProblem.MISSING_TAG, "0028,0051"),
            ({"CorrectedImage": ["DECY"]}, ExamProblem.NOT_CORRECTED, "0028,0051"),
            ({"CorrectedImage": ["ATTN"]}, ExamProblem.NOT_CORRECTED, "0054,1102"),
            ({"DecayCorrection": None}, ExamProblem.MISSING_TAG, "0054,1102"),
            ({"PatientWeight": None}, ExamProblem.MISSING_TAG, "0010,1030"),
            ({"PatientWeight": "0"}, ExamProblem.MISSING_TAG, "0010,1030"),
            ({"RadionuclideTotalDose": None}, ExamProblem.MISSING_TAG, "0018,1074"),
            ({"RadionuclideTotalDose": "0"}, ExamProblem.MISSING_TAG, "0018,1074"),
            ({"RadionuclideTotalDose": "0.02"}, ExamProblem.BAD_VALUES, "0018,1074"),
            ({"RadiopharmaceuticalStartTime": None}, ExamProblem.MISSING_TAG, "0018,1072"),
            ({"RadionuclideHalfLife": None}, ExamProblem.MISSING_TAG, "0018,1075"),
            ({"RescaleIntercept": "-10"}, ExamProblem.BAD_VALUES, "0028,1052"),
            ({"RadiopharmaceuticalInformationSequence": None}, ExamProblem.MISSING_TAG, "0054,0016"),
            ({"RadiopharmaceuticalStartDateTime": "20200102120000"}, ExamProblem.BAD_VALUES, "0018,1078"),
        ],
    )
    def test_names_the_tag(self, header, changes, problem, tag):
        with pytest.raises(ExamError, match=tag) as caught:
            suv_scale([header(**changes)])
        assert caught.value.problem is problem

    def test_refuses_slices_of_two_units(self, header):
        with pytest.raises(ExamError, match="one Units"):
            suv_scale([header(), header(Units="GML")])


class TestNuclideOf:
    @pytest.mark.parametrize(
        ("text", "nuclide"),
        [
            ("^18^Fluorine", "F18"),
            ("18F", "F18"),
            ("Ga-68", "Ga68"),
            ("^68^Gallium", "Ga68"),
            ("FDG", None),
            ("Zr-89", "Zr89"),
        ],
    )
    def test_reads_the_ways_a_nuclide_is_written(self, text, nuclide):
        assert nuclide_of(text) == nuclide


def test_factors_are_one_a_slice(header):
    assert suv_scale([header()] * 5).factors.shape == (5,)
    assert np.isfinite(suv_scale([header()] * 5).factors).all()
