"""Whose images they are, of which study, in which unit the dose is, and whether values can be SUV and HU."""

from datetime import date

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.reading.plausibility import body_of, values_of_image
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.tables.exam_problems import ExamProblem

GRID = np.array([[10.0, 0, 0, -160], [0, 10, 0, -160], [0, 0, 10, -200], [0, 0, 0, 1]])
HOUR_LATER = 370e6 * 2 ** (-3600 / 6586.2) / 70_000
"""Bq/mL of SUV 1 in the default header."""


@pytest.fixture
def body() -> Volume:
    """A trunk of SUV 1 in air of 0, with a hot lesion of 8, 400 mm long."""
    i, j, _ = np.meshgrid(*[np.arange(n) for n in (32, 32, 40)], indexing="ij")
    array = np.where((i - 15.5) ** 2 + (j - 15.5) ** 2 < 100, 1.0, 0.0)
    array[14:17, 14:17, 20:23] = 8.0
    return Volume(array.astype(np.float32), GRID)


@pytest.fixture
def pet(body) -> Volume:
    return Volume(body.array * np.float32(HOUR_LATER), GRID)


@pytest.fixture
def ct(body) -> Volume:
    return Volume(np.where(body.array > 0.5, 40, -1000).astype(np.int16), GRID)


class TestStudies:
    @pytest.fixture
    def two(self, tmp_path, pet, write_series):
        half = Volume(pet.array / 2, GRID)
        for name, volume, day in (("base", half, "20251005"), ("follow", pet, "20260304")):
            write_series(
                tmp_path / name, volume, edit=lambda d, k, name=name: setattr(d, "StudyInstanceUID", f"1.{len(name)}"),
                StudyDate=day, SeriesDate=day, AcquisitionDate=day,
            )  # fmt: skip
        return tmp_path

    @pytest.mark.parametrize(("day", "highest"), [(date(2026, 3, 4), 8.0), (date(2025, 10, 5), 4.0)])
    def test_the_one_of_the_report_is_read(self, two, day, highest):
        exam = read_exam(two, "E1", study_date=day)
        assert exam.suv.array.max() == pytest.approx(highest, rel=1e-3)
        assert "study_date" in (exam.facts.message or "")

    @pytest.mark.parametrize("day", [None, date(2026, 1, 1)])
    def test_without_its_date_both_are_refused(self, two, day):
        with pytest.raises(ExamError, match="study_date"):
            read_exam(two, "E1", study_date=day)

    @pytest.mark.parametrize(
        ("keyword", "values"), [("PatientID", ("p", "q")), ("PatientBirthDate", ("19500101", "19510101"))]
    )
    def test_two_patients_are_refused(self, tmp_path, pet, ct, write_series, keyword, values):
        write_series(tmp_path / "a", pet, edit=lambda d, k: setattr(d, keyword, values[0]))
        write_series(tmp_path / "b", ct, modality="CT", edit=lambda d, k: setattr(d, keyword, values[1]))
        with pytest.raises(ExamError, match="one patient") as caught:
            read_exam(tmp_path, "E1")
        assert keyword in str(caught.value)
        assert "19500101" not in str(caught.value)

    def test_one_patient_written_in_two_ways_is_one(self, tmp_path, pet, ct, write_series):
        write_series(tmp_path / "a", pet, edit=lambda d, k: setattr(d, "PatientID", "ab 1 "))
        write_series(tmp_path / "b", ct, modality="CT", edit=lambda d, k: setattr(d, "PatientID", "AB1"))
        assert read_exam(tmp_path, "E1").ct is not None


class TestDose:
    @pytest.mark.parametrize(("stated", "unit"), [("370", "MBq"), ("370000", "kBq"), ("10", "mCi")])
    def test_is_read_in_the_unit_that_gives_a_body_its_suv(self, tmp_path, pet, write_series, stated, unit):
        write_series(tmp_path, pet, RadionuclideTotalDose=stated)
        exam = read_exam(tmp_path, "E1")
        assert exam.suv.array.max() == pytest.approx(8.0, rel=1e-3)
        assert f"in {unit}" in (exam.facts.message or "")
        assert exam.facts.injected_dose_bq == pytest.approx(370e6)

    def test_that_no_unit_explains_is_refused(self, tmp_path, pet, write_series):
        write_series(tmp_path, Volume(pet.array * 8, GRID), RadionuclideTotalDose="10")
        with pytest.raises(ExamError, match="0018,1074"):
            read_exam(tmp_path, "E1")

    @pytest.mark.parametrize(("dose", "factor"), [("37000000", 10), ("3700000000", 0.1)])
    def test_ten_times_off_is_told(self, tmp_path, pet, write_series, dose, factor):
        write_series(tmp_path, pet, RadionuclideTotalDose=dose)
        assert "median SUV" in (read_exam(tmp_path, "E1").facts.message or "")

    def test_of_a_thousand_times_is_refused(self, tmp_path, pet, write_series):
        write_series(tmp_path, Volume(pet.array * 1000, GRID), slopes=1000.0)
        with pytest.raises(ExamError, match="no body has an SUV like this"):
            read_exam(tmp_path, "E1")

    def parts(self, *doses: tuple[str, str]) -> list[Dataset]:
        items = []
        for dose, time in doses:
            item = Dataset()
            item.RadionuclideTotalDose, item.RadionuclideHalfLife = dose, "6586.2"
            item.RadiopharmaceuticalStartTime = time
            items.append(item)
        return items

    def test_in_parts_is_added_each_with_its_time(self, tmp_path, body, write_series):
        left = [d * 2 ** (-s / 6586.2) for d, s in ((200e6, 3600), (100e6, 1800))]
        items = self.parts(("200000000", "100000"), ("100000000", "103000"))
        write_series(
            tmp_path, Volume(body.array * np.float32(sum(left) / 70_000), GRID),
            RadiopharmaceuticalInformationSequence=items,
        )  # fmt: skip
        assert read_exam(tmp_path, "E1").suv.array.max() == pytest.approx(8.0, rel=1e-3)

    def test_written_twice_is_refused(self, tmp_path, pet, write_series):
        items = self.parts(("370000000", "100000"), ("370000000", "100000"))
        write_series(tmp_path, pet, RadiopharmaceuticalInformationSequence=items)
        with pytest.raises(ExamError, match="0054,0016"):
            read_exam(tmp_path, "E1")

    def test_beside_an_empty_item_is_read(self, tmp_path, pet, write_series):
        items = [Dataset(), *self.parts(("370000000", "100000"))]
        write_series(tmp_path, pet, RadiopharmaceuticalInformationSequence=items)
        assert read_exam(tmp_path, "E1").suv.array.max() == pytest.approx(8.0, rel=1e-3)


class TestValues:
    def test_the_body_is_what_is_not_air_in_any_unit(self, body):
        for scale in (1e-3, 1.0, 1e4):
            assert (body_of(body.array * np.float32(scale)) == (body.array > 0)).all()
        assert values_of_image(body).body_median == 1.0

    def test_noise_about_zero_is_told(self, tmp_path, body):
        noise = np.random.default_rng(1).normal(0, 0.15, body.shape).astype(np.float32)
        save_nifti(Volume(body.array + noise, GRID), tmp_path / "SUV.nii.gz")
        assert "SUV down to" in (read_exam(tmp_path, "E1").facts.message or "")

    def test_a_standardised_image_is_refused(self, tmp_path, body):
        scores = (body.array - body.array.mean()) / body.array.std()
        save_nifti(Volume(scores.astype(np.float32), GRID), tmp_path / "SUV.nii.gz")
        with pytest.raises(ExamError) as caught:
            read_exam(tmp_path, "E1")
        assert caught.value.problem is ExamProblem.BAD_VALUES

    @pytest.mark.parametrize("unit", ["kBq/mL", "Bq/mL", "BQML", "counts"])
    def test_a_sidecar_of_another_unit_is_refused(self, tmp_path, body, unit):
        save_nifti(body, tmp_path / "PET.nii.gz")
        (tmp_path / "PET.json").write_text(f'{{"Units": "{unit}"}}')
        with pytest.raises(ExamError, match="sidecar") as caught:
            read_exam(tmp_path, "E1")
        assert caught.value.problem is ExamProblem.UNSUPPORTED_UNITS

    @pytest.mark.parametrize("unit", ["SUV", "g/ml", "{SUVbw}g/ml"])
    def test_a_sidecar_of_suv_is_read(self, tmp_path, body, unit):
        save_nifti(body, tmp_path / "PET.nii.gz")
        (tmp_path / "PET.json").write_text(f'{{"Units": "{unit}"}}')
        assert read_exam(tmp_path, "E1").suv.array.max() == 8.0

    def test_rows_and_columns_that_are_exchanged_are_told(self, tmp_path, pet, write_series):
        def exchange(dataset, k):
            dataset.Rows, dataset.Columns = dataset.Columns, dataset.Rows

        wide = pet.crop((slice(None), slice(5, 27), slice(None)))
        write_series(tmp_path / "right", wide)
        write_series(tmp_path / "wrong", wide, edit=exchange)
        assert read_exam(tmp_path / "right", "E1").facts.message is None
        assert "Columns (0028,0011)" in (read_exam(tmp_path / "wrong", "E1").facts.message or "")

    def test_activity_beside_dicom_gives_way_to_it(self, tmp_path, pet, write_series):
        write_series(tmp_path / "dicom", pet)
        save_nifti(pet, tmp_path / "PET.nii.gz")
        exam = read_exam(tmp_path, "E1")
        assert exam.suv.array.max() == pytest.approx(8.0, rel=1e-3)
        assert "PET.nii.gz set aside" in (exam.facts.message or "")


class TestCt:
    def read(self, tmp_path, body, ct):
        save_nifti(body, tmp_path / "SUV.nii.gz")
        save_nifti(ct, tmp_path / "CT.nii.gz")
        exam = read_exam(tmp_path, "E1")
        return exam.ct, exam.facts.ct_message

    def test_in_hu_is_read(self, tmp_path, body, ct):
        assert self.read(tmp_path, body, ct)[1] is None

    @pytest.mark.parametrize("offset", [1024, -1024, 1000])
    def test_whose_intercept_was_lost_or_doubled_is_left_out(self, tmp_path, body, ct, offset):
        volume, message = self.read(tmp_path, body, Volume((ct.array + offset).astype(np.int16), GRID))
        assert volume is None
        assert "no HU" in message

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_of_elsewhere_is_left_out(self, tmp_path, body, ct, axis):
        affine = GRID.copy()
        affine[axis, 3] += 500.0
        volume, message = self.read(tmp_path, body, Volume(ct.array, affine))
        assert volume is None
        assert "CT left out" in message

    def test_beyond_its_type_stays_hot(self, tmp_path, pet, ct, write_series):
        hot = ct.array.astype(np.int32)
        hot[14:17, 14:17, 20] = 40_000
        write_series(tmp_path / "pet", pet)
        write_series(tmp_path / "ct", Volume((hot + 8192) / 2, GRID), modality="CT", edit=_in_twos)
        read = read_exam(tmp_path, "E1").ct
        assert read is not None
        assert read.array.max() == np.iinfo(np.int16).max

    def test_without_an_intercept_is_left_out(self, tmp_path, pet, ct, write_series):
        write_series(tmp_path / "pet", pet)
        write_series(tmp_path / "ct", ct, modality="CT", edit=lambda d, k: d.pop("RescaleIntercept"))
        assert "0028,1052" in (read_exam(tmp_path, "E1").facts.ct_message or "")


def _in_twos(dataset: Dataset, k: int) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-8192"


def test_forms_of_a_nifti_that_place_it_elsewhere_are_refused(tmp_path, body):
    import nibabel

    image = nibabel.Nifti1Image(body.array, GRID)
    moved = GRID.copy()
    moved[1, 3] += 30.0
    image.set_sform(GRID, code=1)
    image.set_qform(moved, code=1)
    nibabel.save(image, tmp_path / "SUV.nii.gz")
    with pytest.raises(ExamError, match="qform"):
        read_exam(tmp_path, "E1")
