"""Volumes: orientation, files, slices and resampling."""

import gzip
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, k_of, load_nifti, resample_to, save_nifti, slice_of
from pipelines.settings import Origin, SliceConvention
from pipelines.tables.exam_problems import ExamProblem

ORIENTATIONS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def reoriented(volume: Volume, axes, signs) -> Volume:
    """The same image stored with its axes in another order and direction."""
    transform = nibabel.orientations.inv_ornt_aff([[a, s] for a, s in zip(axes, signs)], volume.shape)
    array = nibabel.orientations.apply_orientation(volume.array, [[a, s] for a, s in zip(axes, signs)])
    return Volume(array, volume.affine @ transform)


@pytest.fixture
def volume() -> Volume:
    array = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    return Volume(array, np.array([[2.0, 0, 0, -10], [0, 3, 0, 5], [0, 0, 4, -200], [0, 0, 0, 1]]))


class TestVolume:
    @pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
    def test_comes_back_to_one_order_from_every_orientation(self, volume, axes, signs):
        back = reoriented(volume, axes, signs).canonical()
        np.testing.assert_array_equal(back.array, volume.array)
        np.testing.assert_allclose(back.affine, volume.affine, atol=1e-12)

    @given(st.lists(st.floats(-500, 500), min_size=3, max_size=3))
    def test_index_and_position_are_inverse(self, point):
        affine = np.array([[0, 2.5, 0, 7], [-3, 0, 0, 1], [0, 0, 4, 2], [0, 0, 0, 1.0]])
        volume = Volume(np.zeros((2, 2, 2)), affine)
        np.testing.assert_allclose(volume.to_ras_mm(volume.to_ijk(point)), point, atol=1e-9)

    def test_a_crop_keeps_every_voxel_in_its_place(self, volume):
        part = volume.crop((slice(1, 3), slice(2, 5), slice(3, 4)))
        np.testing.assert_allclose(part.to_ras_mm([0, 0, 0]), volume.to_ras_mm([1, 2, 3]))
        assert part.array[0, 0, 0] == volume.array[1, 2, 3]

    @pytest.mark.parametrize(
        ("array", "affine"),
        [
            (np.zeros((2, 2)), np.eye(4)),
            (np.zeros((2, 2, 0)), np.eye(4)),
            (np.zeros((2, 2, 2)), np.diag([1.0, np.nan, 1, 1])),
            (np.zeros((2, 2, 2)), np.diag([1.0, 0, 1, 1])),
            (np.zeros((2, 2, 2)), np.array([[1.0, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
        ],
    )
    def test_refuses_what_is_no_regular_grid(self, array, affine):
        with pytest.raises(ExamError) as caught:
            Volume(array, affine)
        assert caught.value.problem is ExamProblem.BAD_GEOMETRY


class TestSliceConvention:
    def test_counts_from_the_head_and_from_one_by_default(self):
        assert [k_of(SliceConvention(), s, 100) for s in (1, 100)] == [99, 0]

    @given(st.sampled_from(Origin), st.integers(0, 1), st.integers(0, 99))
    def test_number_and_index_are_inverse(self, origin, base, k):
        convention = SliceConvention(origin=origin, base=base)
        assert k_of(convention, slice_of(convention, k, 100), 100) == k


class TestFiles:
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_come_back_as_they_were_written(self, tmp_path, volume, name):
        back = load_nifti(save_nifti(volume, tmp_path / name))
        np.testing.assert_array_equal(back.array, volume.array)
        np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)

    def test_leave_nothing_beside(self, tmp_path, volume):
        save_nifti(volume, tmp_path / "a.nii.gz")
        assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]

    def test_uncompressed_is_memory_mapped(self, tmp_path, volume):
        array = load_nifti(save_nifti(volume, tmp_path / "a.nii")).array
        while not isinstance(array, np.memmap) and array.base is not None:
            array = array.base
        assert isinstance(array, np.memmap)

    def test_scaling_of_the_header_is_applied(self, tmp_path):
        image = nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
        image.header.set_slope_inter(0.5, -1.0)
        nibabel.save(image, tmp_path / "a.nii.gz")
        expected = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj)
        np.testing.assert_allclose(load_nifti(tmp_path / "a.nii.gz").array, expected)

    def test_of_several_gzip_members_are_read_whole(self, tmp_path, volume):
        raw = save_nifti(volume, tmp_path / "a.nii").read_bytes()
        (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
        np.testing.assert_array_equal(load_nifti(tmp_path / "b.nii.gz").array, volume.array)

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_cut_short_are_refused_by_name(self, tmp_path, volume, name):
        path = save_nifti(volume, tmp_path / name)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(ExamError, match=name) as caught:
            load_nifti(path)
        assert caught.value.problem is ExamProblem.UNREADABLE

    @pytest.mark.parametrize("bit", range(8))
    def test_a_damaged_one_is_refused_or_what_it_was(self, tmp_path, bit):
        rng = np.random.default_rng(3)
        noise = Volume(rng.integers(0, 9, (12, 12, 12)).astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
        path = save_nifti(noise, tmp_path / "a.nii.gz")
        whole = path.read_bytes()
        for at in range(60, len(whole), 97):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
            try:
                read = load_nifti(path)
            except ExamError:
                continue
            np.testing.assert_array_equal(read.array, noise.array)

    def test_of_much_more_than_the_header_says_is_refused(self, tmp_path, volume):
        raw = save_nifti(volume, tmp_path / "a.nii").read_bytes()
        (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw + b"\0" * 1000))
        np.testing.assert_array_equal(load_nifti(tmp_path / "b.nii.gz").array, volume.array)
        (tmp_path / "c.nii.gz").write_bytes(gzip.compress(raw + b"\0" * (3 << 20)))
        with pytest.raises(ExamError, match="more than its header says"):
            load_nifti(tmp_path / "c.nii.gz")

    def test_of_four_dimensions_are_refused(self, tmp_path):
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)), tmp_path / "a.nii")
        with pytest.raises(ExamError, match="3D"):
            load_nifti(tmp_path / "a.nii")

    def test_without_a_form_are_refused(self, tmp_path):
        image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), None)
        nibabel.save(image, tmp_path / "a.nii")
        with pytest.raises(ExamError, match="left and right"):
            load_nifti(tmp_path / "a.nii")


class TestResampleTo:
    def test_a_linear_ramp_stays_what_it_is(self):
        reference = Volume(np.zeros((10, 10, 10), np.float32), np.diag([2.0, 2, 2, 1]))
        fine = np.array([[1.7, 0, 0, -1], [0, 1.7, 0, -1], [0, 0, 1.7, -1], [0, 0, 0, 1]])
        moving = Volume(np.zeros((14, 14, 14), np.float32), fine)
        x = moving.to_ras_mm(np.argwhere(np.ones(moving.shape)))[:, 0].reshape(moving.shape)
        out = resample_to(Volume(x.astype(np.float32), moving.affine), reference)
        expected = reference.to_ras_mm(np.argwhere(np.ones(reference.shape)))[:, 0].reshape(reference.shape)
        np.testing.assert_allclose(out.array, expected, atol=1e-4)

    def test_fills_where_the_image_does_not_reach(self):
        reference = Volume(np.zeros((4, 4, 8), np.float32), np.eye(4))
        moving = Volume(np.zeros((4, 4, 3), np.int16), np.eye(4))
        out = resample_to(moving, reference, fill=-1024)
        assert out.array.dtype == np.int16
        assert (out.array[:, :, 5:] == -1024).all()
        assert (out.array[:, :, :3] == 0).all()

    def test_an_image_on_the_same_grid_is_not_touched(self, volume):
        assert resample_to(volume, volume).array is volume.array
