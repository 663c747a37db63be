"""Exam folders as they come: damaged files, odd names, archives, links and pipes. None of them ends more than its exam,
and no message holds the patient's name or another library's words."""

import gzip
import os
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid

from pipelines.cohort.privacy.header_identifiers import names_in_folder
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.settings import ExamSettings
from pipelines.tables.exam_problems import ExamProblem

NAME = "ZEBROWSKI"
GRID = np.diag([10.0, 10.0, 10.0, 1.0])


@pytest.fixture
def pet() -> Volume:
    """Activity of an SUV of 0.5 to 1.5 in every voxel."""
    rng = np.random.default_rng(1)
    return Volume(rng.integers(1700, 5400, (8, 9, 6)).astype(np.float32), GRID)


@pytest.fixture
def series(tmp_path, pet, write_series):
    def write(folder: str = "exam", **changes):
        return write_series(tmp_path / folder, pet, PatientName=f"{NAME}^QUENTIN", **changes)

    return write


def refused(folder: Path, settings: ExamSettings = ExamSettings()) -> ExamError:
    with pytest.raises(ExamError) as caught:
        read_exam(folder, "E1", settings)
    message = str(caught.value)
    assert message.startswith("exam E1: ")
    assert NAME not in message
    assert str(folder) not in message
    assert message.isprintable()
    return caught.value


def told(folder: Path) -> str:
    exam = read_exam(folder, "E1")
    assert NAME not in str(exam.facts.to_row()).upper()
    return exam.facts.message or ""


DAMAGE = {
    "cut within the header": lambda data: data[:152],
    "cut within the pixels": lambda data: data[:-50],
    "unknown value representation": lambda data: data.replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00P\x9d"),
    "length beyond the file": lambda data: data.replace(b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00UN\xff\xff"),
    "zeros": lambda data: bytes(len(data)),
    "empty": lambda data: b"",
    "text": lambda data: b"no DICOM at all, but a page of text " * 9,
    "unknown character set": lambda data: data.replace(b"\x08\x00\x60\x00CS", b"\x08\x00\x05\x00CS"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_slice_is_told_or_not_needed(name, series, tmp_path):
    path = series()[0]
    path.write_bytes(DAMAGE[name](path.read_bytes()))
    try:
        assert read_exam(tmp_path / "exam", "E1").suv.shape == (8, 9, 6), "a slice is missing without a word"
    except ExamError:
        refused(tmp_path / "exam")


@pytest.mark.parametrize("name", DAMAGE)
def test_the_names_in_a_damaged_header_are_left_out(name, series, tmp_path):
    for path in series():
        path.write_bytes(DAMAGE[name](path.read_bytes()))
    assert names_in_folder(tmp_path / "exam") <= {NAME, "QUENTIN", f"{NAME}^QUENTIN"}


def test_a_damaged_name_costs_nothing(series, tmp_path):
    for path in series():
        data = path.read_bytes()
        path.write_bytes(data.replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00P\x9d"))
    assert told(tmp_path / "exam") == ""


def test_a_cut_deflated_slice_is_told_by_its_name(series, tmp_path):
    path = series()[3]
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged compressed data" in refused(tmp_path / "exam").message


def test_a_deflated_slice_is_unpacked_within_the_bound(series, tmp_path):
    path = series()[3]
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new(0x00091001, "UN", bytes(4 << 20))
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    assert path.stat().st_size < 100_000
    assert "more than 1 MiB" in refused(tmp_path / "exam", ExamSettings(largest_image_mib=1)).message


def test_a_nifti_is_unpacked_within_the_bound(tmp_path):
    save_nifti(Volume(np.ones((100, 100, 100), np.float32), GRID), tmp_path / "SUV.nii.gz")
    error = refused(tmp_path, ExamSettings(largest_image_mib=1))
    assert (error.problem, "exam.largest_image_mib" in error.message) == (ExamProblem.UNREADABLE, True)


def test_a_dicom_image_is_unpacked_within_the_bound(series, tmp_path):
    series(edit=lambda dataset, k: (setattr(dataset, "Rows", 60000), setattr(dataset, "Columns", 60000)))
    assert "MiB" in refused(tmp_path / "exam").message


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_another_number_of_rows_than_pixels_is_refused(keyword, series, tmp_path):
    series(edit=lambda dataset, k: setattr(dataset, keyword, getattr(dataset, keyword) - 1))
    error = refused(tmp_path / "exam")
    assert error.problem is ExamProblem.UNREADABLE
    assert "Columns (0028,0011)" in error.message


def test_a_file_that_is_named_after_its_patient_is_told_by_its_place(series, tmp_path):
    path = series()[2]
    path.rename(path.with_name(f"{NAME}_QUENTIN_MRN55512345.dcm")).write_bytes(b"")
    assert re.search(r"file \d of 6", refused(tmp_path / "exam").message)


def test_pipes_links_and_names_that_are_no_text_cost_nothing(series, tmp_path):
    series()
    folder = tmp_path / "exam"
    os.mkfifo(folder / "pipe.dcm")
    os.symlink("loop", folder / "loop")
    os.symlink(folder, folder / "again")
    os.symlink("/nowhere/at/all", folder / "gone.dcm")
    (Path(os.fsdecode(os.fsencode(folder) + b"/M\xfcller.txt"))).write_bytes(b"x")
    message = told(folder)
    assert "no file but a pipe" in message
    assert message.count("leads nowhere") == 2


def test_a_series_behind_a_link_is_read(series, tmp_path):
    series("store")
    (tmp_path / "exam").mkdir()
    os.symlink(tmp_path / "store", tmp_path / "exam" / "PET")
    assert read_exam(tmp_path / "exam", "E1").suv.shape == (8, 9, 6)


def pack(kind: str, paths: list[Path], target: Path) -> None:
    target.mkdir()
    if kind == "zip":
        with zipfile.ZipFile(target / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, f"../../{NAME}/{path.name}")
    elif kind == "tgz":
        with tarfile.open(target / "scan.tgz", "w:gz") as archive:
            for path in paths:
                archive.add(path, f"/{NAME}/{path.name}")
    else:
        for path in paths:
            (target / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize(("kind", "words"), [("zip", "zip"), ("tgz", "tar archives"), ("gz", "gzip")])
def test_an_archive_is_read_and_told(kind, words, series, tmp_path, pet):
    pack(kind, series(), tmp_path / "packed")
    before = read_exam(tmp_path / "exam", "E1").suv.array
    assert words in told(tmp_path / "packed")
    np.testing.assert_array_equal(read_exam(tmp_path / "packed", "E1").suv.array, before)
    assert not (tmp_path.parent / NAME).exists()


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_an_archive_is_unpacked_within_the_bound(kind, tmp_path):
    (tmp_path / "large.bin").write_bytes(bytes(5 << 20))
    pack(kind, [tmp_path / "large.bin"], tmp_path / "packed")
    assert "unpacks to more than 2 MiB" in refused(tmp_path / "packed", ExamSettings(largest_image_mib=1)).message


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_a_cut_archive_is_refused(kind, series, tmp_path):
    pack(kind, series(), tmp_path / "packed")
    path = next((tmp_path / "packed").iterdir())
    path.write_bytes(path.read_bytes()[:-400])
    assert "cannot be unpacked" in refused(tmp_path / "packed").message


def test_an_encrypted_archive_is_refused(series, tmp_path):
    pack("zip", series(), tmp_path / "packed")
    path = tmp_path / "packed" / "scan.zip"
    data = bytearray(path.read_bytes())
    for found in re.finditer(rb"PK\x01\x02", bytes(data)):
        data[found.start() + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(tmp_path / "packed").message


def test_an_archive_beside_the_images_is_left_alone(series, tmp_path):
    paths = series()
    with zipfile.ZipFile(tmp_path / "exam" / "old.zip", "w") as archive:
        archive.write(paths[0], "IM0001.dcm")
    assert told(tmp_path / "exam") == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trc-FDG.nii.gz", "SUV.nii.gz"),
        ("case_0001.nii.gz", "case_0001.nii.gz"),
        ("image.mha", "image.mha"),
        ("SUV.mhd", "another format"),
        (f"{NAME}.nii", "SUV.nii.gz"),
    ],
)
def test_an_image_of_another_name_says_which_is_wanted(name, words, tmp_path):
    save_nifti(Volume(np.ones((4, 4, 4), np.float32), GRID), tmp_path / "x.nii")
    (tmp_path / "exam").mkdir()
    (tmp_path / "x.nii").rename(tmp_path / "exam" / name)
    error = refused(tmp_path / "exam")
    assert (error.problem, words in error.message) == (ExamProblem.NO_PET, True)


def test_a_nifti_in_a_folder_below_is_read(tmp_path):
    save_nifti(Volume(np.ones((4, 4, 4), np.float32), GRID), tmp_path / "nifti" / "SUV.nii.gz")
    assert read_exam(tmp_path, "E1").suv.shape == (4, 4, 4)


def test_a_nifti_that_only_says_it_is_compressed_is_read(tmp_path):
    path = save_nifti(Volume(np.ones((4, 4, 4), np.float32), GRID), tmp_path / "x.nii")
    path.rename(tmp_path / "SUV.nii.gz")
    assert read_exam(tmp_path, "E1").suv.shape == (4, 4, 4)


def test_a_nifti_of_several_gzip_members_is_read(tmp_path):
    path = save_nifti(Volume(np.arange(64, dtype=np.float32).reshape(4, 4, 4), GRID), tmp_path / "x.nii")
    data = path.read_bytes()
    (tmp_path / "exam").mkdir()
    members = [gzip.compress(data[n : n + 100]) for n in range(0, len(data), 100)]
    (tmp_path / "exam" / "SUV.nii.gz").write_bytes(b"".join(members))
    assert read_exam(tmp_path / "exam", "E1").suv.array.max() == 63


def test_an_image_of_the_same_name_in_another_format_is_told(tmp_path, pet):
    suv = Volume(pet.array / 3000, pet.affine)
    save_nifti(suv, tmp_path / "exam" / "SUV.nii.gz")
    save_nifti(Volume(suv.array * 2, suv.affine), tmp_path / "exam" / "SUV.nii")
    assert "SUV.nii of the same name as an image that is read are set aside" in told(tmp_path / "exam")


def test_an_image_colder_than_any_body_is_told(tmp_path, pet):
    save_nifti(Volume(pet.array / 3e6, pet.affine), tmp_path / "exam" / "SUV.nii.gz")
    assert "less than any body" in told(tmp_path / "exam")


@pytest.mark.parametrize("name", ["scan.7z", "scan.rar", "scan.zst"])
def test_archives_that_are_not_read_are_told(name, tmp_path):
    (tmp_path / "exam").mkdir()
    (tmp_path / "exam" / name).write_bytes(b"no DICOM" * 99)
    assert "unpack them" in str(refused(tmp_path / "exam"))


def test_an_archive_within_an_archive_is_told(series, tmp_path):
    pack("zip", series("packed"), tmp_path / "inner")
    pack("zip", [tmp_path / "inner" / "scan.zip"], tmp_path / "exam")
    assert "archives that are not read" in str(refused(tmp_path / "exam"))


class TestSeries:
    def test_with_one_instance_uid_for_all_slices_is_read(self, series, tmp_path):
        series(edit=lambda dataset, k: setattr(dataset, "SOPInstanceUID", "1.2.3.4.5"))
        assert "SOPInstanceUID (0008,0018)" in told(tmp_path / "exam")

    def test_with_a_uid_for_each_slice_is_read(self, series, tmp_path):
        series(edit=lambda dataset, k: setattr(dataset, "SeriesInstanceUID", generate_uid()))
        assert "SeriesInstanceUID (0020,000E)" in told(tmp_path / "exam")

    def test_with_a_frame_of_reference_for_each_slice_is_read(self, series, tmp_path):
        series(edit=lambda dataset, k: setattr(dataset, "FrameOfReferenceUID", generate_uid()))
        assert "FrameOfReferenceUID (0020,0052)" in told(tmp_path / "exam")

    def test_with_a_copied_slice_is_read_once(self, series, tmp_path):
        path = series()[1]
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = generate_uid()
        dataset.save_as(path.with_name("IM9.dcm"))
        assert told(tmp_path / "exam") == "1 files were copies of others"

    def test_with_a_screen_capture_is_read_without_it(self, series, tmp_path):
        path = series()[1]
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID, dataset.SOPClassUID = generate_uid(), pydicom.uid.SecondaryCaptureImageStorage
        del dataset.ImagePositionPatient
        dataset.save_as(path.with_name("IM9.dcm"))
        assert "IM9.dcm" in told(tmp_path / "exam")

    def test_with_a_lost_first_slice_says_so(self, series, tmp_path):
        paths = series(edit=lambda dataset, k: setattr(dataset, "InstanceNumber", 6 - k))
        paths[5].unlink()
        assert "begins with 2 at the head" in told(tmp_path / "exam")

    def test_with_a_negative_spacing_is_refused(self, series, tmp_path):
        series(edit=lambda dataset, k: setattr(dataset, "PixelSpacing", [-10, 10]))
        assert "PixelSpacing 0028,0030" in refused(tmp_path / "exam").message

    @pytest.mark.parametrize(
        ("keyword", "tag"),
        [("PatientWeight", "0010,1030"), ("PatientID", "0010,0020"), ("DecayCorrection", "0054,1102")],
    )
    def test_that_contradicts_itself_is_refused(self, keyword, tag, series, tmp_path):
        other = {"PatientWeight": "80", "PatientID": "q", "DecayCorrection": "ADMIN"}[keyword]
        series(edit=lambda dataset, k: setattr(dataset, keyword, other) if k > 2 else None)
        assert tag in refused(tmp_path / "exam").message

    def test_with_decimal_commas_is_read(self, series, tmp_path):
        for path in series(PatientWeight="70.0"):
            path.write_bytes(path.read_bytes().replace(b"DS\x04\x0070.0", b"DS\x04\x0070,0"))
        assert read_exam(tmp_path / "exam", "E1").facts.weight_kg == 70.0


def test_a_file_without_pixels_is_told(series, tmp_path):
    path = series()[0]
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    assert "has no pixels" in str(refused(tmp_path / "exam"))
