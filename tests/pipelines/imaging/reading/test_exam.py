"""Exam folders, right and wrong, to volumes and facts or to a reason."""

import nibabel
import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedPETImage
from pydicom.dataset import Dataset

from pipelines.exports.segmentation import ExportLesion, export_dicom_seg
from pipelines.imaging.masks import save_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.exam import ExamFacts, read_exam
from pipelines.imaging.reading.expert_masks import read_expert_masks
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.tables.exam_problems import ExamProblem

FACTOR = 70_000 / (370e6 * 2 ** (-3600 / 6586.2))
GRID = np.array([[4.0, 0, 0, -20], [0, 4, 0, -24], [0, 0, 3, -300], [0, 0, 0, 1]])


@pytest.fixture
def pet() -> Volume:
    """Activity in Bq/mL, different in every voxel."""
    rng = np.random.default_rng(1)
    return Volume(rng.integers(100, 20_000, (10, 12, 14)).astype(np.float32), GRID)


@pytest.fixture
def suv(pet) -> Volume:
    return Volume((pet.array * 0.0005).astype(np.float32), GRID)


@pytest.fixture
def ct() -> Volume:
    rng = np.random.default_rng(2)
    return Volume(rng.integers(-1000, 1500, (10, 12, 14)).astype(np.int16), GRID)


def problem_of(folder, match=None) -> ExamProblem:
    with pytest.raises(ExamError, match=match) as caught:
        read_exam(folder, "E1")
    assert "E1" in caught.value.message
    return caught.value.problem


class TestDicom:
    def test_becomes_suv_in_ras_order(self, tmp_path, pet, write_series):
        write_series(tmp_path / "deep" / "below", pet)
        exam = read_exam(tmp_path, "E1")
        np.testing.assert_allclose(exam.suv.array, pet.array * FACTOR, rtol=1e-5)
        np.testing.assert_allclose(exam.suv.affine, GRID, atol=1e-9)

    def test_uses_the_slope_of_each_slice(self, tmp_path, pet, write_series):
        write_series(tmp_path, pet, slopes=np.linspace(1, 3, 14).round(4))
        exam = read_exam(tmp_path, "E1")
        np.testing.assert_allclose(exam.suv.array, pet.array * FACTOR, atol=2 * FACTOR)

    def test_keeps_what_the_suv_rests_on(self, tmp_path, pet, write_series):
        write_series(tmp_path, pet)
        facts = read_exam(tmp_path, "E1").facts
        assert (
            facts.to_row().items()
            >= {
                "source": "dicom",
                "tracer": "FDG",
                "units": "BQML",
                "injected_dose_bq": 370e6,
                "half_life_s": 6586.2,
                "weight_kg": 70.0,
                "uptake_s": 3600.0,
                "n_slices": 14,
                "decay_correction": "START",
            }.items()
        )

    def test_picks_the_corrected_whole_body_series_and_says_so(self, tmp_path, pet, write_series):
        write_series(tmp_path / "a", pet, description="WB AC")
        write_series(tmp_path / "b", pet, description="WB NAC", CorrectedImage=["DECY"])
        write_series(tmp_path / "c", Volume(pet.array[:, :, :6], GRID), description="HEAD AC")
        write_series(tmp_path / "d", pet, description="MIP", ImageType=["DERIVED", "SECONDARY", "MIP"])
        exam = read_exam(tmp_path, "E1")
        assert exam.facts.series_description == "WB AC"
        assert exam.facts.message is not None
        for words in (
            "WB NAC (14 files): not attenuation-corrected",
            "HEAD AC (6 files): fewer slices",
            "MIP (14 files): a projection",
        ):
            assert words in exam.facts.message

    def test_with_only_an_uncorrected_series_is_refused(self, tmp_path, pet, write_series):
        write_series(tmp_path, pet, CorrectedImage=["DECY"])
        assert problem_of(tmp_path, "ATTN") is ExamProblem.NOT_CORRECTED

    def test_without_a_weight_is_refused(self, tmp_path, pet, write_series):
        write_series(tmp_path, pet, PatientWeight=None)
        assert problem_of(tmp_path, "0010,1030") is ExamProblem.MISSING_TAG

    def test_with_a_slice_missing_says_where(self, tmp_path, pet, write_series):
        write_series(tmp_path, pet)[5].unlink()
        assert problem_of(tmp_path, "lacks 1 slices, the first after slice 5") is ExamProblem.BAD_GEOMETRY

    def test_with_slices_missing_at_the_end_is_refused(self, tmp_path, pet, write_series):
        write_series(tmp_path, pet, NumberOfSlices=14)[13].unlink()
        assert problem_of(tmp_path, "13 slices of 14") is ExamProblem.BAD_GEOMETRY

    def test_with_two_series_under_one_uid_is_refused(self, tmp_path, pet, write_series):
        write_series(tmp_path / "a", pet, series_uid="1.2.9")
        write_series(tmp_path / "b", pet, series_uid="1.2.9")
        assert problem_of(tmp_path, "two series") is ExamProblem.BAD_GEOMETRY

    def test_copied_twice_is_read_once(self, tmp_path, pet, write_series):
        for path in write_series(tmp_path / "a", pet):
            (tmp_path / f"copy-{path.name}").write_bytes(path.read_bytes())
        exam = read_exam(tmp_path, "E1")
        assert exam.suv.shape == pet.shape
        assert exam.facts.message == "14 files were copies of others"

    def test_of_a_tilted_gantry_is_refused(self, tmp_path, pet, write_series):
        def tilt(dataset, k):
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y + 0.5 * k, z]

        write_series(tmp_path, pet, edit=tilt)
        assert problem_of(tmp_path, "tilted") is ExamProblem.BAD_GEOMETRY

    def test_with_uneven_spacing_is_refused(self, tmp_path, pet, write_series):
        def stretch(dataset, k):
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, z + (0.8 if k > 6 else 0.0)]

        write_series(tmp_path, pet, edit=stretch)
        assert problem_of(tmp_path, "gaps of 3.80 mm") is ExamProblem.BAD_GEOMETRY

    def test_with_positions_that_jitter_is_read(self, tmp_path, pet, write_series):
        def jitter(dataset, k):
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, z + (0.04 if k % 2 else -0.04)]

        write_series(tmp_path, pet, edit=jitter)
        assert read_exam(tmp_path, "E1").suv.spacing_mm[2] == pytest.approx(3.0, abs=0.01)

    def test_cut_short_in_its_pixels_names_the_file(self, tmp_path, pet, write_series):
        path = write_series(tmp_path, pet)[4]
        path.write_bytes(path.read_bytes()[:-100])
        assert problem_of(tmp_path, path.name) is ExamProblem.UNREADABLE

    def test_cut_short_in_its_header_names_the_file(self, tmp_path, pet, write_series):
        path = write_series(tmp_path, pet)[4]
        path.write_bytes(path.read_bytes()[:300])
        assert problem_of(tmp_path, path.name) is ExamProblem.UNREADABLE

    def test_of_two_patients_under_one_uid_is_refused(self, tmp_path, pet, write_series):
        def swap(dataset, k):
            dataset.PatientID = "p" if k % 2 else "q"

        write_series(tmp_path, pet, edit=swap)
        assert problem_of(tmp_path, "0010,0020") is ExamProblem.BAD_GEOMETRY

    def test_with_a_slice_of_another_size_is_refused(self, tmp_path, pet, write_series):
        write_series(tmp_path / "a", pet, series_uid="1.2.9")
        write_series(tmp_path / "b", Volume(pet.array[:8], GRID), series_uid="1.2.9")
        assert problem_of(tmp_path, "Columns") is ExamProblem.BAD_GEOMETRY

    def test_of_many_frames_in_one_object_is_refused_with_what_to_do(self, tmp_path, pet, write_series):
        path = write_series(tmp_path, Volume(pet.array[:, :, :4], GRID))[0]
        dataset = pydicom.dcmread(path)
        for other in tmp_path.iterdir():
            other.unlink()
        dataset.NumberOfFrames = 14
        dataset.PixelData = dataset.PixelData * 14
        dataset.save_as(tmp_path / "many.dcm")
        assert problem_of(tmp_path, "multi-frame.*export it as single-frame DICOM") is ExamProblem.UNREADABLE

    def test_of_one_moment_goes_before_a_dynamic_one_with_more_files(self, tmp_path, pet, write_series):
        write_series(tmp_path / "a", pet, description="WB", SeriesType=["WHOLE BODY", "IMAGE"])
        for n in range(2):
            write_series(
                tmp_path / f"b{n}", pet, series_uid="1.2.9", description="DYN", SeriesType=["DYNAMIC", "IMAGE"]
            )
        facts = read_exam(tmp_path, "E1").facts
        assert facts.series_description == "WB"
        assert "DYN (28 files): dynamic or gated" in facts.message

    def test_of_the_whole_body_goes_before_a_finer_one_of_the_head(self, tmp_path, pet, write_series):
        fine = Volume(np.repeat(pet.array, 2, axis=2), GRID @ np.diag([1, 1, 0.25, 1]))
        write_series(tmp_path / "a", pet, description="WB")
        write_series(tmp_path / "b", fine, description="HEAD")
        facts = read_exam(tmp_path, "E1").facts
        assert facts.series_description == "WB"
        assert "HEAD (28 files): a part of the body" in facts.message

    def test_beside_a_shorter_bed_position_is_read_and_says_so(self, tmp_path, pet, write_series):
        write_series(tmp_path / "a", pet.crop((slice(None), slice(None), slice(5, 14))), description="BODY")
        write_series(tmp_path / "b", pet.crop((slice(None), slice(None), slice(0, 5))), description="LEGS")
        assert "LEGS (5 files): fewer slices" in read_exam(tmp_path, "E1").facts.message

    def test_in_two_bed_positions_is_refused(self, tmp_path, pet, write_series):
        write_series(tmp_path / "a", pet.crop((slice(None), slice(None), slice(6, 14))), description="HIGH")
        write_series(tmp_path / "b", pet.crop((slice(None), slice(None), slice(0, 7))), description="LOW")
        assert problem_of(tmp_path, "HIGH.*LOW.*join them") is ExamProblem.BAD_GEOMETRY

    def test_of_the_trunk_beside_one_of_the_legs_is_read_and_says_so(self, tmp_path, write_series):
        tall = Volume(np.ones((4, 4, 40), np.float32), np.diag([4.0, 4.0, 20.0, 1.0]))
        write_series(tmp_path / "a", tall.crop((slice(None), slice(None), slice(18, 40))), description="TRUNK")
        write_series(tmp_path / "b", tall.crop((slice(None), slice(None), slice(0, 18))), description="LEGS")
        facts = read_exam(tmp_path, "E1").facts
        assert "picked TRUNK (22 files)" in facts.message
        assert "LEGS (18 files): fewer slices" in facts.message

    @pytest.mark.parametrize(
        ("row", "column"),
        [
            ((1, 0, 0), (0, 1, 0)),
            ((-1, 0, 0), (0, 1, 0)),
            ((0, 1, 0), (-1, 0, 0)),
            ((0, -1, 0), (-1, 0, 0)),
            ((1, 0, 0), (0, 0, -1)),
            ((0, 1, 0), (0, 0, -1)),
        ],
        ids=["supine", "feet first", "decubitus", "decubitus, feet first", "coronal", "sagittal"],
    )
    def test_is_the_same_in_every_position_of_the_patient(self, tmp_path, pet, write_series, row, column):
        def turned(dataset, k):
            normal = np.cross(row, column)
            to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ GRID
            axes = np.array([np.linalg.inv(to_lps[:3, :3] / pet.spacing_mm) @ a for a in (row, column, normal)])
            order = np.abs(axes).argmax(axis=1)
            signs = axes[np.arange(3), order].round()
            stored = pet.array.transpose(order)[tuple(slice(None, None, int(s)) for s in signs)]
            first = np.zeros(3)
            for axis, sign in zip(order, signs):
                first[axis] = 0 if sign > 0 else pet.shape[axis] - 1
            if k >= stored.shape[2]:
                dataset.SeriesInstanceUID, dataset.Modality = "1.9", "OT"
                return
            step = pet.spacing_mm[order[2]]
            dataset.ImagePositionPatient = ((to_lps @ [*first, 1])[:3] + normal * step * k).tolist()
            dataset.ImageOrientationPatient = [*row, *column]
            dataset.PixelSpacing = [pet.spacing_mm[order[1]], pet.spacing_mm[order[0]]]
            dataset.Rows, dataset.Columns = stored.shape[1], stored.shape[0]
            dataset.PixelData = stored[:, :, k].T.astype("<i2").tobytes()

        write_series(tmp_path, pet, edit=turned)
        exam = read_exam(tmp_path, "E1")
        np.testing.assert_allclose(exam.suv.array, pet.array * FACTOR, rtol=1e-5)
        np.testing.assert_allclose(exam.suv.affine, GRID, atol=1e-6)

    def test_of_another_modality_alone_is_no_pet(self, tmp_path, ct, write_series):
        write_series(tmp_path, ct, modality="CT")
        assert problem_of(tmp_path, "found CT") is ExamProblem.NO_PET


class TestMultiFrame:
    def converted(self, tmp_path, pet, write_series):
        """An exam of single frames and the same as another library's conversion to one enhanced object."""
        empty = "PatientBirthDate StudyID AccessionNumber ReferringPhysicianName PositionReferenceIndicator Laterality"

        def complete(dataset, k):
            for keyword in empty.split():
                setattr(dataset, keyword, "")
            dataset.StudyDate = dataset.ContentDate = "20200102"
            dataset.StudyTime = dataset.ContentTime = "110000"
            dataset.Manufacturer, dataset.BodyPartExamined, dataset.PatientPosition = "maker", "WHOLEBODY", "HFS"
            dataset.ImageType, dataset.SeriesType = ["ORIGINAL", "PRIMARY"], ["WHOLE BODY", "IMAGE"]
            dataset.PatientOrientation = ["L", "P"]
            dataset.SeriesNumber, dataset.InstanceNumber = 1, k + 1
            dataset.FrameReferenceTime, dataset.ActualFrameDuration = "0", "120000"

        paths = write_series(tmp_path / "single", pet, slopes=np.linspace(1, 3, 14).round(4), edit=complete)
        singles = [pydicom.dcmread(p) for p in paths]
        uids = [pydicom.uid.generate_uid() for _ in range(2)]
        many = LegacyConvertedEnhancedPETImage(singles, uids[0], 2, uids[1], 1)
        (tmp_path / "many").mkdir()
        many.save_as(tmp_path / "many" / "many.dcm")
        return read_exam(tmp_path / "single", "E1"), tmp_path / "many"

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_of_a_converter_is_what_the_single_frames_were(self, tmp_path, pet, write_series):
        single, folder = self.converted(tmp_path, pet, write_series)
        many = read_exam(folder, "E1")
        np.testing.assert_allclose(many.suv.array, single.suv.array, rtol=1e-6)
        np.testing.assert_allclose(many.suv.affine, single.suv.affine, atol=1e-6)
        for name in ("units", "suv_rule", "decay_correction", "injected_dose_bq", "weight_kg", "uptake_s", "tracer"):
            assert getattr(many.facts, name) == getattr(single.facts, name), name

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_takes_a_dicom_seg_of_its_lesions(self, tmp_path, pet, write_series):
        _, folder = self.converted(tmp_path, pet, write_series)
        suv = read_exam(folder, "E1").suv
        part = suv.crop((slice(2, 5), slice(3, 8), slice(4, 9)))
        mask = np.ones(part.shape, dtype=np.uint8)
        mask[0, 0, 0] = 0
        path = save_mask(Volume(mask, part.affine), tmp_path / "masks", "E1:1")
        export_dicom_seg([ExportLesion("E1:1", "lesion", path)], folder, folder / "seg" / "lesions.dcm")
        (back,) = read_expert_masks(folder, suv)
        expected = np.zeros(suv.shape, dtype=bool)
        expected[2:5, 3:8, 4:9] = True
        expected[2, 3, 4] = False
        np.testing.assert_array_equal(back.mask, expected)

    def enhanced(self, tmp_path, pet, write_series, **changes):
        """An enhanced PET as a scanner writes it: units in a real world value mapping, corrections in attributes of
        their own; its SeriesTime lies after the moment that the activity was decayed to."""
        paths = write_series(tmp_path / "single", pet, slopes=np.linspace(1, 3, 14).round(4))
        singles = [pydicom.dcmread(p) for p in paths]
        slopes = [float(d.RescaleSlope) for d in singles]
        many = singles[0]
        for keyword in ("Units", "CorrectedImage", "DecayCorrection", "RescaleSlope", "RescaleIntercept"):
            del many[keyword]
        many.NumberOfFrames = len(singles)
        many.SOPClassUID = many.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedPETImageStorage
        many.SeriesTime = "113000"
        many.AttenuationCorrected = many.DecayCorrected = "YES"
        many.DecayCorrectionDateTime = "20200102110000"
        many.PixelData = b"".join(d.PixelData for d in singles)
        frames = []
        for single, slope in zip(singles, slopes):
            unit, mapping, frame = Dataset(), Dataset(), Dataset()
            unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "Bq/ml", "UCUM", "Becquerels/milliliter"
            mapping.MeasurementUnitsCodeSequence = [unit]
            mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, 0.0
            frame.RealWorldValueMappingSequence = [mapping]
            for sequence, keywords in {
                "PlanePositionSequence": ["ImagePositionPatient"],
                "PlaneOrientationSequence": ["ImageOrientationPatient"],
                "PixelMeasuresSequence": ["PixelSpacing", "SliceThickness"],
            }.items():
                item = Dataset()
                for keyword in keywords:
                    setattr(item, keyword, getattr(single, keyword))
                setattr(frame, sequence, [item])
            frames.append(frame)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
            del many[keyword]
        many.PerFrameFunctionalGroupsSequence = frames
        for keyword, value in changes.items():
            setattr(many, keyword, value)
        (tmp_path / "many").mkdir()
        many.save_as(tmp_path / "many" / "many.dcm")
        return tmp_path / "many"

    def test_of_a_scanner_is_read_by_its_mapping_and_its_decay_moment(self, tmp_path, pet, write_series):
        exam = read_exam(self.enhanced(tmp_path, pet, write_series), "E1")
        np.testing.assert_allclose(exam.suv.array, pet.array * FACTOR, atol=2 * FACTOR)
        assert exam.facts.units == "BQML"
        assert "0018,9701" in exam.facts.suv_rule

    def test_that_is_not_attenuation_corrected_is_refused(self, tmp_path, pet, write_series):
        folder = self.enhanced(tmp_path, pet, write_series, AttenuationCorrected="NO")
        assert problem_of(folder, "without ATTN") is ExamProblem.NOT_CORRECTED

    def test_cut_short_names_the_file(self, tmp_path, pet, write_series):
        path = self.enhanced(tmp_path, pet, write_series) / "many.dcm"
        path.write_bytes(path.read_bytes()[:-300])
        assert problem_of(path.parent, "many.dcm") is ExamProblem.UNREADABLE


class TestNifti:
    def test_is_read_as_suv(self, tmp_path, suv):
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        exam = read_exam(tmp_path, "E1")
        np.testing.assert_allclose(exam.suv.array, suv.array)
        assert (exam.facts.source, exam.facts.has_ct, exam.facts.ct_message) == ("nifti", False, "no CT")

    def test_suv_goes_before_pet(self, tmp_path, suv):
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        save_nifti(Volume(suv.array * 5000, suv.affine), tmp_path / "PET.nii.gz")
        assert read_exam(tmp_path, "E1").facts.suv_max == pytest.approx(float(suv.array.max()))

    @pytest.mark.parametrize(
        "order", [[[0, 1], [1, 1], [2, 1]], [[0, -1], [1, -1], [2, 1]], [[2, -1], [0, 1], [1, -1]]]
    )
    def test_is_the_same_in_every_orientation(self, tmp_path, suv, order):
        array = nibabel.orientations.apply_orientation(suv.array, order)
        affine = suv.affine @ nibabel.orientations.inv_ornt_aff(order, suv.shape)
        save_nifti(Volume(array, affine), tmp_path / "SUV.nii.gz")
        exam = read_exam(tmp_path, "E1")
        np.testing.assert_array_equal(exam.suv.array, suv.array)
        np.testing.assert_allclose(exam.suv.affine, suv.affine, atol=1e-4)

    def test_goes_before_dicom_and_says_so(self, tmp_path, pet, suv, write_series):
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        write_series(tmp_path / "pet", pet)
        exam = read_exam(tmp_path, "E1")
        assert exam.facts.source == "nifti"
        assert "set aside" in exam.facts.message

    def test_in_activity_is_refused(self, tmp_path, pet):
        save_nifti(pet, tmp_path / "PET.nii.gz")
        assert problem_of(tmp_path, "dose") is ExamProblem.UNSUPPORTED_UNITS

    def test_in_activity_with_noise_in_the_air_is_refused(self, tmp_path):
        array = np.full((80, 80, 60), 12.0, np.float32)
        array[30:50, 32:48] = 5000.0
        save_nifti(Volume(array, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "SUV.nii.gz")
        assert problem_of(tmp_path, "dose") is ExamProblem.UNSUPPORTED_UNITS

    def test_of_a_hot_bladder_is_suv(self, tmp_path):
        array = np.full((80, 80, 60), 0.02, np.float32)
        array[30:50, 32:48] = 1.0
        array[36:44, 36:44, 5:12] = 900.0
        save_nifti(Volume(array, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "SUV.nii.gz")
        assert read_exam(tmp_path, "E1").facts.suv_max == 900.0

    @pytest.mark.parametrize("value", [np.nan, np.inf, -4.0])
    def test_with_values_that_are_no_suv_is_refused(self, tmp_path, suv, value):
        suv.array[3, 4, 5] = value
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        assert problem_of(tmp_path) is ExamProblem.BAD_VALUES

    def test_all_zero_is_refused(self, tmp_path, suv):
        save_nifti(Volume(np.zeros_like(suv.array), suv.affine), tmp_path / "SUV.nii.gz")
        assert problem_of(tmp_path, "empty") is ExamProblem.BAD_VALUES

    def test_cut_short_is_refused(self, tmp_path, suv):
        path = save_nifti(suv, tmp_path / "SUV.nii.gz")
        path.write_bytes(path.read_bytes()[:-200])
        assert problem_of(tmp_path, "SUV.nii.gz") is ExamProblem.UNREADABLE


class TestFolder:
    def test_that_is_missing_is_named(self, tmp_path):
        assert problem_of(tmp_path / "nowhere") is ExamProblem.NO_FOLDER

    def test_that_is_empty_is_named(self, tmp_path):
        assert problem_of(tmp_path) is ExamProblem.EMPTY_FOLDER

    def test_without_images_has_no_pet(self, tmp_path):
        (tmp_path / "notes.txt").write_text("nothing here")
        assert problem_of(tmp_path) is ExamProblem.NO_PET


class TestCt:
    def test_of_dicom_comes_on_the_grid_of_the_pet(self, tmp_path, pet, ct, write_series):
        write_series(tmp_path / "pet", pet)
        write_series(tmp_path / "ct", ct, modality="CT", intercept=-1024.0)
        exam = read_exam(tmp_path, "E1")
        np.testing.assert_array_equal(exam.ct.array, ct.array)
        assert exam.ct.array.dtype == np.int16
        assert exam.facts.ct_message is None

    def test_of_nifti_is_resampled(self, tmp_path, suv):
        fine = np.array([[2.0, 0, 0, -21], [0, 2, 0, -25], [0, 0, 1.5, -300.75], [0, 0, 0, 1]])
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        save_nifti(Volume(np.full((20, 24, 28), 40, np.int16), fine), tmp_path / "CT.nii.gz")
        exam = read_exam(tmp_path, "E1")
        assert exam.ct.shape == exam.suv.shape
        assert (exam.ct.array[1:-1, 1:-1, 1:-1] == 40).all()

    def test_resampled_before_is_preferred(self, tmp_path, suv, ct):
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        save_nifti(Volume(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "CT.nii.gz")
        save_nifti(ct, tmp_path / "CTres.nii.gz")
        np.testing.assert_array_equal(read_exam(tmp_path, "E1").ct.array, ct.array)

    def test_of_the_whole_body_goes_before_a_finer_one_of_the_chest(self, tmp_path, pet, ct, write_series):
        write_series(tmp_path / "pet", pet)
        write_series(tmp_path / "ct", ct, modality="CT", description="WB")
        chest = Volume(np.repeat(ct.array[:, :, 4:9], 6, axis=2), GRID @ np.diag([1, 1, 1 / 6, 1]))
        write_series(tmp_path / "chest", chest, modality="CT", description="CHEST")
        exam = read_exam(tmp_path, "E1")
        assert "picked CT WB (14 files) of 2" in exam.facts.ct_message
        np.testing.assert_array_equal(exam.ct.array, ct.array)

    def test_of_another_frame_of_reference_is_left_out(self, tmp_path, pet, ct, write_series):
        write_series(tmp_path / "pet", pet)
        write_series(tmp_path / "ct", ct, modality="CT", frame_uid="1.2.3.5")
        exam = read_exam(tmp_path, "E1")
        assert exam.ct is None
        assert "frame of reference" in exam.facts.ct_message

    def test_shorter_than_the_pet_is_kept_and_said(self, tmp_path, suv, ct):
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        save_nifti(Volume(ct.array[:, :, :9], ct.affine), tmp_path / "CT.nii.gz")
        exam = read_exam(tmp_path, "E1")
        assert "of 14 PET slices" in exam.facts.ct_message
        assert (exam.ct.array[:, :, 12:] == -1024).all()

    def test_somewhere_else_is_left_out(self, tmp_path, suv, ct):
        far = GRID.copy()
        far[2, 3] = 4000
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        save_nifti(Volume(ct.array, far), tmp_path / "CT.nii.gz")
        exam = read_exam(tmp_path, "E1")
        assert exam.ct is None
        assert "does not overlap" in exam.facts.ct_message

    def test_of_dicom_that_is_damaged_does_not_lose_the_pet(self, tmp_path, pet, ct, write_series):
        write_series(tmp_path / "pet", pet)
        damaged = write_series(tmp_path / "ct", ct, modality="CT")[4]
        damaged.write_bytes(damaged.read_bytes()[:300])
        exam = read_exam(tmp_path, "E1")
        assert exam.ct is None
        assert "lacks 1 slices" in exam.facts.ct_message
        assert damaged.name in exam.facts.message

    def test_that_is_damaged_does_not_lose_the_pet(self, tmp_path, suv):
        save_nifti(suv, tmp_path / "SUV.nii.gz")
        (tmp_path / "CT.nii.gz").write_bytes(b"not a gzip")
        exam = read_exam(tmp_path, "E1")
        assert exam.ct is None
        assert "CT.nii.gz" in exam.facts.ct_message


def test_facts_are_the_image_columns_of_the_exams_table():
    columns = """source tracer study_date scanner reconstruction series_description units suv_rule decay_correction
    injected_dose_bq half_life_s weight_kg
    uptake_s sul_ratio sul_james_ratio
    n_slices shape_i shape_j shape_k spacing_i_mm spacing_j_mm spacing_k_mm voxel_ml suv_max has_ct ct_message
    message"""
    assert sorted(ExamFacts.__dataclass_fields__) == sorted(columns.split())
