"""NRRD, MetaImage and names of other data sets: what is read where it is safe, and what is said elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from pipelines.imaging.reading.exam import ExamError, read_exam
from pipelines.imaging.volume import Volume, save_nifti

HOT_RAS_MM = (-30.0, 17.0, -60.0)


def pet() -> sitk.Image:
    """A body of SUV 1 with a voxel of 9 at HOT_RAS_MM, in LPS."""
    array = np.full((6, 14, 16), 0.01, dtype=np.float32)
    array[:, 3:11, 3:13] = 1.0
    array[3, 5, 7] = 9.0
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((25.0, 25.0, 20.0))
    image.SetOrigin((30.0 - 7 * 25, -17.0 - 5 * 25, -120.0))
    return image


def ct() -> sitk.Image:
    array = sitk.GetArrayFromImage(pet())
    image = sitk.GetImageFromArray(np.where(array > 0.5, 40, -1000).astype(np.int16))
    image.CopyInformation(pet())
    return image


def write(folder: Path, name: str, image: sitk.Image) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(folder / name))
    return folder


def hottest_mm(folder: Path) -> tuple[float, ...]:
    suv = read_exam(folder, "E1").suv
    at = np.unravel_index(int(suv.array.argmax()), suv.shape)
    return tuple(np.round(suv.to_ras_mm(np.array(at)), 3).tolist())


class TestFormats:
    @pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
    def test_give_the_same_volume_with_its_ct(self, suffix: str, tmp_path: Path) -> None:
        write(tmp_path, f"SUV{suffix}", pet())
        write(tmp_path, f"CT{suffix}", ct())
        assert hottest_mm(tmp_path) == HOT_RAS_MM
        assert read_exam(tmp_path, "E1").ct is not None

    def test_a_space_of_nrrd_other_than_lps_is_turned(self, tmp_path: Path) -> None:
        path = write(tmp_path, "SUV.nrrd", pet()) / "SUV.nrrd"
        path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", b"right-anterior-superior"))
        assert hottest_mm(tmp_path) == (30.0, -17.0, -60.0)

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("SUV.nrrd", b"space: left-posterior-superior\n", b"space dimension: 3\n"),
            ("SUV.mha", b"TransformMatrix", b"AnotherMatrix__"),
            ("SUV.mha", b"ElementSpacing", b"ElementAnother"),
        ],
    )
    def test_one_that_does_not_say_its_place_is_refused(
        self, name: str, old: bytes, new: bytes, tmp_path: Path
    ) -> None:
        path = write(tmp_path, name, pet()) / name
        path.write_bytes(path.read_bytes().replace(old, new))
        with pytest.raises(ExamError, match="does not say where it lies in the patient"):
            read_exam(tmp_path, "E1")

    @pytest.mark.parametrize("name", ["SUV.nrrd", "SUV.mha"])
    def test_a_cut_or_foreign_file_is_told_by_its_name(self, name: str, tmp_path: Path) -> None:
        path = write(tmp_path, name, pet()) / name
        for content in (path.read_bytes()[:900], b"no image"):
            path.write_bytes(content)
            with pytest.raises(ExamError, match=f"exam E1: {name} "):
                read_exam(tmp_path, "E1")

    def test_voxels_in_another_file_are_not_followed(self, tmp_path: Path) -> None:
        path = write(tmp_path, "SUV.mha", pet()) / "SUV.mha"
        path.write_bytes(path.read_bytes().replace(b"ElementDataFile = LOCAL", b"ElementDataFile = ../x.raw"))
        with pytest.raises(ExamError, match="has its voxels in another file"):
            read_exam(tmp_path, "E1")

    def test_one_that_is_too_large_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        path = write(tmp_path, "SUV.nrrd", pet()) / "SUV.nrrd"
        path.write_bytes(path.read_bytes().replace(b"sizes: 16 14 6", b"sizes: 16000 14000 6"))
        with pytest.raises(ExamError, match="unpacks to 5126 MiB"):
            read_exam(tmp_path, "E1")


class TestNamesOfOtherDataSets:
    @pytest.mark.parametrize("channels", [("0001", "0000"), ("0000", "0001")])
    def test_channels_of_nnunet_are_told_apart_by_their_values(self, channels: tuple[str, str], tmp_path: Path) -> None:
        for channel, image in zip(channels, (pet(), ct()), strict=True):
            write(tmp_path, f"case_{channel}.nii.gz", image)
        exam = read_exam(tmp_path, "E1")
        assert exam.facts.suv_max == 9
        assert exam.ct is not None
        assert f"case_{channels[0]}.nii.gz is read as the PET" in (exam.facts.message or "")

    def test_two_channels_of_one_kind_are_no_choice(self, tmp_path: Path) -> None:
        write(tmp_path, "case_0000.nii.gz", pet())
        write(tmp_path, "case_0001.nii.gz", pet())
        with pytest.raises(ExamError, match=r"give the PET in SUV as NIfTI named SUV\.nii\.gz"):
            read_exam(tmp_path, "E1")

    def test_the_pet_of_bids_is_read_where_there_is_one(self, tmp_path: Path) -> None:
        write(tmp_path / "ses-1" / "pet", "sub-01_trc-FDG_pet.nii.gz", pet())
        assert hottest_mm(tmp_path) == HOT_RAS_MM
        write(tmp_path / "ses-2" / "pet", "sub-01_trc-FDG_pet.nii.gz", pet())
        with pytest.raises(ExamError, match=r"named SUV\.nii\.gz"):
            read_exam(tmp_path, "E1")

    def test_an_image_that_is_not_named_for_suv_has_to_look_like_it(self, tmp_path: Path) -> None:
        array = np.ones((8, 8, 20), dtype=np.float32) * 12
        save_nifti(Volume(array, np.diag([20.0, 20.0, 20.0, 1.0])), tmp_path / "sub-01_pet.nii.gz")
        with pytest.raises(ExamError, match="is named for no unit"):
            read_exam(tmp_path, "E1")

    def test_a_name_of_a_patient_is_not_told(self, tmp_path: Path) -> None:
        write(tmp_path, "ZEBROWSKI_0001.nii.gz", pet())
        write(tmp_path, "ZEBROWSKI_0000.nii.gz", ct())
        facts = read_exam(tmp_path, "E1").facts
        assert "zebrowski" not in str(facts).lower()
