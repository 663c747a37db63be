"""Expert masks read, and lesions exported: a region survives the way through each format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from pipelines.exports.segmentation import ExportLesion, export_dicom_seg, export_nifti
from pipelines.imaging.masks import save_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.reading.expert_masks import read_expert_masks
from pipelines.imaging.reading.stack import stored_pixels
from pipelines.imaging.volume import Volume, save_nifti

GRID = np.array([[4.0, 0, 0, -20], [0, 4, 0, -24], [0, 0, 3, -300], [0, 0, 0, 1]])
BOXES = [(slice(2, 5), slice(3, 8), slice(4, 9)), (slice(6, 9), slice(1, 4), slice(8, 12))]


@pytest.fixture
def pet() -> Volume:
    return Volume(np.random.default_rng(0).integers(100, 20_000, (10, 12, 14)).astype(np.float32), GRID)


@pytest.fixture
def lesions(tmp_path, pet) -> list[ExportLesion]:
    made = []
    for n, box in enumerate(BOXES):
        part = pet.crop(box)
        mask = np.ones(part.shape, dtype=np.uint8)
        mask[0, 0, 0] = 0  # not the same in every direction
        path = save_mask(Volume(mask, part.affine), tmp_path / "masks", f"E:{n}")
        made.append(ExportLesion(f"E:{n}", f"lesion {n}", path))
    return made


def truth(n: int) -> np.ndarray:
    mask = np.zeros((10, 12, 14), dtype=bool)
    mask[BOXES[n]] = True
    mask[tuple(b.start for b in BOXES[n])] = False
    return mask


class TestExportNifti:
    def test_writes_each_lesion_with_its_label(self, tmp_path, pet, lesions):
        labels = nibabel.load(export_nifti(lesions, pet, tmp_path / "out.nii.gz"))
        array = np.asarray(labels.dataobj)
        np.testing.assert_array_equal(array == 1, truth(0))
        np.testing.assert_array_equal(array == 2, truth(1))
        np.testing.assert_allclose(labels.affine, GRID, atol=1e-4)

    def test_without_a_lesion_is_refused(self, tmp_path, pet):
        with pytest.raises(ValueError, match="none"):
            export_nifti([], pet, tmp_path / "out.nii.gz")


class TestExportDicomSeg:
    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_comes_back_as_it_was(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet)
        path = export_dicom_seg(lesions, tmp_path / "exam", tmp_path / "exam" / "seg" / "lesions.dcm")
        dataset = pydicom.dcmread(path)
        assert dataset.Modality == "SEG"
        assert dataset.FrameOfReferenceUID == "1.2.3.4"
        exam = read_exam(tmp_path / "exam", "E")
        back = read_expert_masks(tmp_path / "exam", exam.suv)
        assert [b.name for b in back] == ["lesion 0", "lesion 1"]
        for n in range(2):
            np.testing.assert_array_equal(back[n].mask, truth(n))

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_says_the_spacing_of_slices_that_are_thicker_than_it(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet, edit=lambda dataset, k: setattr(dataset, "SliceThickness", 5.0))
        path = export_dicom_seg(lesions, tmp_path / "exam", tmp_path / "exam" / "seg" / "lesions.dcm")
        shared = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0]
        assert shared.PixelMeasuresSequence[0].SpacingBetweenSlices == pytest.approx(3.0)
        back = read_expert_masks(tmp_path / "exam", read_exam(tmp_path / "exam", "E").suv)
        np.testing.assert_array_equal(back[0].mask, truth(0))

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_keeps_two_lesions_that_overlap_whole(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet)
        both = [lesions[0], ExportLesion("E:9", "again", lesions[0].mask_path)]
        export_dicom_seg(both, tmp_path / "exam", tmp_path / "exam" / "seg" / "lesions.dcm")
        back = read_expert_masks(tmp_path / "exam", read_exam(tmp_path / "exam", "E").suv)
        assert [int(b.mask.sum()) for b in back] == [int(truth(0).sum())] * 2

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_label_map_beside_it_holds_the_same(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet)
        label_map = tmp_path / "exam" / "map" / "lesions.dcm"
        binary = pydicom.dcmread(
            export_dicom_seg(lesions, tmp_path / "exam", tmp_path / "lesions.dcm", labelmap_path=label_map)
        )
        dataset = pydicom.dcmread(label_map)
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage
        assert dataset.NumberOfFrames < binary.NumberOfFrames
        assert [s.TrackingUID for s in dataset.SegmentSequence if s.SegmentNumber] == [
            s.TrackingUID for s in binary.SegmentSequence
        ]
        assert dataset.SeriesInstanceUID != binary.SeriesInstanceUID
        back = read_expert_masks(tmp_path / "exam", read_exam(tmp_path / "exam", "E").suv)
        assert [b.name for b in back] == ["lesion 0", "lesion 1"]
        for n in range(2):
            np.testing.assert_array_equal(back[n].mask, truth(n))

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_label_map_of_lesions_that_overlap_is_left_out(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet)
        both = [lesions[0], ExportLesion("E:9", "again", lesions[0].mask_path)]
        (tmp_path / "map.dcm").write_bytes(b"of an earlier export")
        export_dicom_seg(both, tmp_path / "exam", tmp_path / "seg.dcm", labelmap_path=tmp_path / "map.dcm")
        assert (tmp_path / "seg.dcm").is_file()
        assert not (tmp_path / "map.dcm").exists()

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize(("days_back", "date", "modified"), [(None, "", "REMOVED"), (60, "20230113", "MODIFIED")])
    def test_says_nothing_of_the_patient_but_a_moved_date(
        self, tmp_path, pet, lesions, write_series, days_back, date, modified
    ):
        def identify(dataset: Dataset, k: int) -> None:
            for keyword in (
                "PatientName",
                "PatientID",
                "Occupation",
                "EthnicGroup",
                "ImageComments",
                "StudyDescription",
            ):
                setattr(dataset, keyword, "Esmeralda")
            dataset.PatientBirthDate, dataset.StudyDate = "19330417", "20230314"
            dataset.add_new(0x00091010, "LO", "Esmeralda")

        write_series(tmp_path / "exam", pet, edit=identify)
        path = export_dicom_seg(lesions, tmp_path / "exam", tmp_path / "seg.dcm", days_back=days_back)
        dataset = pydicom.dcmread(path)
        assert b"smeralda" not in path.read_bytes()
        assert b"19330417" not in path.read_bytes()
        # Random UIDs are left out, and sequences, whose items come by themselves: they may hold any four digits.
        assert not [
            e.keyword for e in dataset.iterall() if e.VR not in ("UI", "OB", "OW", "SQ") and "1933" in str(e.value)
        ]
        assert (dataset.StudyDate, dataset.LongitudinalTemporalInformationModified) == (date, modified)
        assert dataset.PatientIdentityRemoved == "YES"
        codes = [code.CodeValue for code in dataset.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113110", *(["113107"] if days_back else [])]

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_says_where_a_lesion_is_and_that_a_bladder_is_none(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet)
        node = replace(lesions[0], organ="lymph node", region="chest", laterality="left")
        bladder = replace(lesions[1], organ="bladder", is_physiologic=True)
        dataset = pydicom.dcmread(export_dicom_seg([node, bladder], tmp_path / "exam", tmp_path / "lesions.dcm"))
        one, two = dataset.SegmentSequence
        region = one.AnatomicRegionSequence[0]
        assert one.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lesion"
        assert (region.CodeMeaning, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("Lymph node", "Left")
        assert two.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
        assert two.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Bladder"
        assert list(one.RecommendedDisplayCIELabValue) != list(two.RecommendedDisplayCIELabValue)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_uids_are_those_of_what_it_holds(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet)

        def uids(of: list[ExportLesion]) -> tuple[str, str, list[str], list[str]]:
            dataset = pydicom.dcmread(export_dicom_seg(of, tmp_path / "exam", tmp_path / "lesions.dcm"))
            tracked = [str(segment.TrackingUID) for segment in dataset.SegmentSequence]
            every = [str(e.value) for e in dataset.iterall() if e.VR == "UI"]
            return str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID), tracked, every

        first, again, fewer = uids(lesions), uids(lesions), uids(lesions[:1])
        assert first == again
        assert (fewer[0], fewer[2]) == (first[0], first[2][:1])
        assert fewer[1] != first[1]

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_names_the_patient_where_that_is_asked_for(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet, edit=lambda dataset, k: setattr(dataset, "PatientID", "MRN-1"))
        path = export_dicom_seg(lesions, tmp_path / "exam", tmp_path / "seg.dcm", keep_identity=True)
        dataset = pydicom.dcmread(path)
        assert dataset.PatientID == "MRN-1"
        assert "PatientIdentityRemoved" not in dataset

    def test_of_an_exam_without_dicom_is_refused(self, tmp_path, pet, lesions):
        save_nifti(pet, tmp_path / "exam" / "SUV.nii.gz")
        with pytest.raises(ExamError, match="export NIfTI"):
            export_dicom_seg(lesions, tmp_path / "exam", tmp_path / "lesions.dcm")


def write_rtstruct(path: Path, roi: str, contours: Sequence[Dataset] = ()) -> None:
    """An RTSTRUCT file with one region, which nobody has drawn where no contours are given."""
    region, name = Dataset(), Dataset()
    region.ReferencedROINumber = name.ROINumber = 1
    if contours:
        region.ContourSequence = contours
    name.ROIName = roi
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetROISequence = [name]
    dataset.ROIContourSequence = [region]
    dataset.save_as(path, enforce_file_format=True)


class TestReadExpertMasks:
    def test_reads_nifti_labels(self, tmp_path, pet):
        labels = np.zeros(pet.shape, dtype=np.uint8)
        labels[truth(0)] = 1
        labels[truth(1)] = 3
        save_nifti(Volume(labels, GRID), tmp_path / "SEG.nii.gz")
        masks = read_expert_masks(tmp_path, pet)
        assert [m.name for m in masks] == ["label 1", "label 3"]
        np.testing.assert_array_equal(masks[1].mask, truth(1))

    def test_fills_the_contours_of_an_rtstruct_and_leaves_out_holes(self, tmp_path, pet):
        def square(low, high, k):
            corners = [(low, low), (high, low), (high, high), (low, high)]
            return [v for i, j in corners for v in (pet.to_ras_mm([i, j, k]) * [-1, -1, 1]).tolist()]

        contours = []
        for k in (5, 6, 7):
            for low, high in ((1.5, 8.5), (3.5, 5.5)):
                item = Dataset()
                item.ContourGeometricType = "CLOSED_PLANAR"
                item.NumberOfContourPoints = 4
                item.ContourData = square(low, high, k)
                contours.append(item)
        write_rtstruct(tmp_path / "rs.dcm", "GTV", contours)
        (mask,) = read_expert_masks(tmp_path, pet)
        expected = np.zeros(pet.shape, dtype=bool)
        expected[2:9, 2:9, 5:8] = True
        expected[4:6, 4:6, 5:8] = False
        assert mask.name == "GTV"
        np.testing.assert_array_equal(mask.mask, expected)

    def test_tells_regions_without_a_voxel(self, tmp_path, pet):
        save_nifti(Volume(np.zeros(pet.shape, dtype=np.uint8), GRID), tmp_path / "SEG.nii.gz")
        write_rtstruct(tmp_path / "rs.dcm", "nothing drawn")
        masks = read_expert_masks(tmp_path, pet)
        assert [(m.name, m.source, int(m.mask.sum())) for m in masks] == [
            ("no label", "nifti", 0),
            ("nothing drawn", "rtstruct", 0),
        ]

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_tells_a_segment_that_no_frame_shows(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet)
        path = export_dicom_seg(lesions, tmp_path / "exam", tmp_path / "exam" / "seg" / "lesions.dcm")
        dataset = pydicom.dcmread(path)
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 2
        dataset.save_as(path)
        back = read_expert_masks(tmp_path / "exam", read_exam(tmp_path / "exam", "E").suv)
        assert [bool(b.mask.any()) for b in back] == [False, True]

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_reads_a_seg_of_thick_slices_that_does_not_say_their_distance(self, tmp_path, pet, lesions, write_series):
        write_series(tmp_path / "exam", pet, edit=lambda dataset, k: setattr(dataset, "SliceThickness", 5.0))
        path = export_dicom_seg(lesions, tmp_path / "exam", tmp_path / "exam" / "seg" / "lesions.dcm")
        dataset = pydicom.dcmread(path)
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
        dataset.save_as(path)
        back = read_expert_masks(tmp_path / "exam", read_exam(tmp_path / "exam", "E").suv)
        np.testing.assert_array_equal(back[0].mask, truth(0))

    def test_names_a_damaged_file(self, tmp_path, pet):
        (tmp_path / "SEG.nii.gz").write_bytes(b"damaged")
        with pytest.raises(ExamError, match=r"SEG\.nii\.gz"):
            read_expert_masks(tmp_path, pet)


class TestCompressedPixels:
    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"], ids=["JPEG-LS", "RLE"])
    def test_are_the_stored_values_whatever_the_slope(self, tmp_path, pet, write_series, syntax):
        paths = write_series(tmp_path / "exam", pet, slopes=np.linspace(1, 2.7, 14).round(4))
        plain = read_exam(tmp_path / "exam", "E").suv.array.copy()
        before = stored_pixels(paths[3])
        for path in paths:
            dataset = pydicom.dcmread(path)
            dataset.compress(syntax, generate_instance_uid=False)
            dataset.save_as(path)
        np.testing.assert_array_equal(stored_pixels(paths[3]), before)
        np.testing.assert_allclose(read_exam(tmp_path / "exam", "E").suv.array, plain, rtol=1e-6)
