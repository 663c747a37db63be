import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.inputs.crops import Crop, MaskBox, focal_crop, global_crop, sample, sample_mask
from model.inputs.windows import Window
from model.petar.config import InputsConfig

sides = st.integers(1, 12)
spacings = st.floats(0.8, 6.0)


UNCHANGED = Window(0, 1)


class TestSample:
    def test_turns_axes_to_head_front_and_right_first(self):
        array = np.zeros((4, 5, 6), np.float32, order="F")
        array[3, 4, 5] = 1  # right, front, head
        crop = Crop((-0.5, -0.5, -0.5), (3.5, 4.5, 5.5), (4, 5, 6))
        out = sample(array, (1, 1, 1), crop, (6, 5, 4), UNCHANGED)
        assert out[0, 0, 0] == 1
        assert out.sum() == 1

    def test_area_equals_torch_adaptive_pooling(self):
        array = np.random.default_rng(0).random((8, 12, 16)).astype(np.float32)
        crop = Crop((-0.5, -0.5, -0.5), (7.5, 11.5, 15.5), (8, 12, 16))
        out = sample(array, (1, 1, 1), crop, (4, 3, 2), UNCHANGED)
        expected = torch.nn.functional.adaptive_avg_pool3d(torch.from_numpy(array)[None, None], (2, 3, 4))[0, 0].numpy()
        assert np.allclose(out, expected.T[::-1, ::-1, ::-1], atol=1e-6)

    def test_is_zero_beyond_the_array(self):
        crop = Crop((-4.5, -0.5, -0.5), (3.5, 3.5, 3.5), (8, 4, 4))
        out = sample(np.ones((4, 4, 4), np.float32), (1, 1, 1), crop, (4, 4, 8), UNCHANGED)
        assert out[:, :, :4].min() == 1
        assert out[:, :, 4:].max() == 0

    @given(spacings, st.integers(4, 20))
    @settings(max_examples=20, deadline=None)
    def test_constant_stays_constant_at_any_spacing(self, spacing, n_out):
        array = np.full((30, 30, 30), 0.5, np.float32)
        middle = 14.5 * spacing
        half = 10 * spacing
        crop = Crop((middle - half,) * 3, (middle + half,) * 3, (17, 17, 17))
        out = sample(array, (spacing,) * 3, crop, (n_out,) * 3, UNCHANGED)
        assert np.allclose(out, 0.5, atol=1e-5)


class TestSampleMask:
    @given(st.tuples(sides, sides, sides), st.tuples(*[st.integers(0, 40)] * 3), spacings)
    @settings(max_examples=30, deadline=None)
    def test_never_vanishes_inside_the_crop(self, size, origin, spacing):
        mask = MaskBox(np.ones(size, np.uint8), origin)
        shape = (60, 60, 60)
        crop = global_crop(
            shape, (spacing,) * 3, mask, InputsConfig(global_crop="around", field_voxels=(200, 200, 200))
        )
        out = sample_mask(mask, shape, (spacing,) * 3, crop, (8, 16, 16))
        assert set(np.unique(out)) <= {0.0, 1.0}
        assert out.sum() >= 1

    def test_keeps_its_place_and_size(self):
        mask = MaskBox(np.ones((4, 4, 4), np.uint8), (8, 0, 4))
        crop = Crop((-0.5,) * 3, (15.5,) * 3, (16, 16, 16))
        out = sample_mask(mask, (16, 16, 16), (1, 1, 1), crop, (16, 16, 16))
        z, y, x = np.nonzero(out)
        # i 8..11 -> x 4..7, j 0..3 -> y 12..15, k 4..7 -> z 8..11: each axis falls.
        assert (x.min(), x.max(), y.min(), y.max(), z.min(), z.max()) == (4, 7, 12, 15, 8, 11)
        assert out.sum() == 64

    def test_is_empty_outside_the_crop(self):
        mask = MaskBox(np.ones((2, 2, 2), np.uint8), (20, 20, 20))
        assert sample_mask(mask, (30, 30, 30), (1, 1, 1), Crop((0,) * 3, (8,) * 3, (8, 8, 8)), (4, 4, 4)).sum() == 0


class TestFocalCrop:
    @given(
        st.tuples(sides, sides, sides),
        st.tuples(*[st.integers(0, 50)] * 3),
        spacings,
        st.integers(0, 8),
        st.integers(0, 10_000),
    )
    @settings(max_examples=60, deadline=None)
    def test_jittered_cube_always_holds_the_mask(self, size, origin, spacing, margin, seed):
        mask = MaskBox(np.ones(size, np.uint8), origin)
        config = InputsConfig(focal_margin_voxels=margin)
        crop = focal_crop((spacing,) * 3, mask, config, np.random.default_rng(seed))
        low, high = mask.extent_mm((spacing,) * 3)
        assert all(c <= m + 1e-6 for c, m in zip(crop.low_mm, low))
        assert all(c >= m - 1e-6 for c, m in zip(crop.high_mm, high))

    def test_cube_is_the_longest_side_and_two_margins(self):
        mask = MaskBox(np.ones((2, 4, 6), np.uint8), (10, 10, 10))
        crop = focal_crop((2, 2, 2), mask, InputsConfig(focal_margin_voxels=5))
        assert [round(b - a, 6) for a, b in zip(crop.low_mm, crop.high_mm)] == [42, 42, 42]
        assert crop.voxels == (14, 14, 14)

    def test_box_has_the_margin_on_each_side(self):
        mask = MaskBox(np.ones((2, 4, 6), np.uint8), (10, 10, 10))
        crop = focal_crop((3, 3, 3), mask, InputsConfig(focal_crop="box", focal_margin_voxels=20))
        assert crop.voxels == (42, 44, 46)


class TestGlobalCrop:
    def test_whole_begins_at_the_top_slice(self):
        crop = global_crop((100, 100, 200), (4, 4, 2), None, InputsConfig(global_crop="whole"))
        assert crop.high_mm[2] == pytest.approx(199.5 * 2)
        assert crop.low_mm[2] == pytest.approx(199.5 * 2 - 352 * 3)

    @given(
        st.tuples(sides, sides, sides),
        st.tuples(*[st.integers(0, 80)] * 3),
        spacings,
        st.sampled_from(["whole", "around"]),
    )
    @settings(max_examples=60, deadline=None)
    def test_always_holds_the_mask_and_keeps_its_size(self, size, origin, spacing, kind):
        mask = MaskBox(np.ones(size, np.uint8), origin)
        config = InputsConfig(global_crop=kind, field_voxels=(40, 40, 40), slices_around=20)
        crop = global_crop((92, 92, 92), (spacing,) * 3, mask, config)
        low, high = mask.extent_mm((spacing,) * 3)
        assert all(c <= m + 1e-6 for c, m in zip(crop.low_mm, low))
        assert all(c >= m - 1e-6 for c, m in zip(crop.high_mm, high))
        assert [b - a for a, b in zip(crop.low_mm, crop.high_mm)] == pytest.approx([120] * 3)

    def test_around_is_centred_on_the_lesion(self):
        mask = MaskBox(np.ones((2, 2, 4), np.uint8), (1, 1, 50))
        crop = global_crop((100, 100, 200), (4, 4, 2), mask, InputsConfig(slices_around=80))
        assert (crop.low_mm[2] + crop.high_mm[2]) / 2 == pytest.approx(51.5 * 2)
        assert crop.voxels[2] == 160
