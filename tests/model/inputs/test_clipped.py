from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from model.inputs.clipped import ExamArrays, GridBox, clipped_images, global_box, grid_of, mask_on_grid
from model.inputs.crops import MaskBox
from model.petar.config import InputsConfig, LayoutConfig, preset
from tests.support.petar_release import release_images

RELEASE = LayoutConfig(x_from="left", border="clip", resize="trilinear", foreground_crop=True)


def config_of(shape=(16, 64, 64), layout=RELEASE, **inputs):
    base = preset("petar-4b")
    return replace(
        base,
        vision=replace(base.vision, image_shape=shape),
        inputs=replace(base.inputs, focal_crop="box", **inputs),
        layout=layout,
    )


def exam_of(shape, box, seed=0):
    """A body of noise in air, a hot lesion in it, and the lesion's mask with holes at its border."""
    rng = np.random.default_rng(seed)
    x, y, _ = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    body = (x / 0.7) ** 2 + (y / 0.5) ** 2 < 1
    pet = (ndimage.gaussian_filter(rng.gamma(1, 1, shape), 1) * body).astype(np.float32)
    ct = np.where(body, rng.normal(40, 300, shape), -1000).astype(np.float32)
    where = tuple(slice(a, b) for a, b in box)
    pet[where] += 20 * rng.random(pet[where].shape)
    array = (rng.random(pet[where].shape) < 0.9).astype(np.uint8)
    array[0, 0, 0] = array[-1, -1, -1] = 1
    mask = np.zeros(shape, np.uint8)
    mask[where] = array
    return pet, ct, mask, MaskBox(array, tuple(a for a, _ in box))


class TestReleaseReplay:
    """The release's own preparation, from the exam to the towers' input, beside ours."""

    CASES: ClassVar = {
        "lesion near the top": ((50, 60, 90), (3.0, 3.0, 3.0), ((20, 26), (30, 37), (78, 83))),
        "lesion near the feet": ((50, 60, 100), (3.0, 3.0, 3.0), ((24, 26), (30, 33), (2, 7))),
        "wider and longer than the field": ((90, 80, 130), (3.0, 3.0, 3.0), ((40, 44), (40, 43), (60, 67))),
        "longer than the crop": ((50, 50, 95), (3.0, 3.0, 3.0), ((20, 30), (20, 30), (10, 90))),
        "another grid": ((48, 48, 70), (4.07283, 4.07283, 3.27), ((20, 24), (20, 26), (58, 64))),
        "a finer grid": ((70, 66, 80), (2.0, 2.0, 2.0), ((30, 37), (30, 34), (30, 33))),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_images_and_masks_are_equal(self, case):
        shape, spacing, box = self.CASES[case]
        self.check(shape, spacing, box, config_of(field_voxels=(100, 64, 64), slices_around=30), (64, 64, 100), 30)

    def test_of_a_whole_body_at_the_release_s_own_size(self):
        # 42 x 38 x 95 cm, a lesion in the neck.
        shape, box = (84, 76, 180), ((40, 44), (36, 40), (160, 165))
        self.check(shape, (5.0, 5.0, 5.3), box, config_of((32, 256, 256)), (200, 200, 350), 80)

    @staticmethod
    def check(shape, spacing, box, config, field, around):
        pet, ct, mask, own = exam_of(shape, box)
        theirs = release_images(pet, ct, mask, spacing, config.vision.image_shape, field, around)
        ours = clipped_images(ExamArrays(pet, ct, spacing), own, config)
        for a, b in zip(theirs, ours):
            assert np.abs(a[:2] - b[:2].numpy()).max() <= 1e-5
            assert np.array_equal(a[2], b[2].numpy())
        assert theirs[1][2].any()

    def test_left_is_not_exchanged_with_right(self):
        _, _, _, own = exam_of((100, 100, 60), ((20, 26), (50, 56), (30, 36)))
        pet = np.ones((100, 100, 60), np.float32)
        from_left, from_right = (
            clipped_images(ExamArrays(pet, None, (3.0,) * 3), own, config_of(layout=layout))[0][2]
            for layout in (RELEASE, replace(RELEASE, x_from="right"))
        )
        # RAS+: small i is the patient's left.
        assert np.nonzero(from_left.sum((0, 1)).numpy())[0].max() < 32
        assert np.nonzero(from_right.sum((0, 1)).numpy())[0].min() >= 32


class TestMaskOnGrid:
    @given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(0, 20)] * 3), st.floats(0.7, 7.0))
    @settings(max_examples=60, deadline=None)
    def test_is_never_empty_and_lies_where_the_mask_lies(self, size, origin, spacing):
        mask = MaskBox(np.ones(size, np.uint8), origin)
        shape = (30, 30, 30)
        found = mask_on_grid(mask, shape, (spacing,) * 3, 3.0)
        assert found.array.any()
        assert found.array.shape == found.box.shape
        for axis in range(3):
            # No point is farther from the mask's voxels than the grid's own step.
            assert found.box.low[axis] * 3.0 >= (origin[axis] - 0.5) * spacing - 3.0
            assert (found.box.high[axis] - 1) * 3.0 <= (origin[axis] + size[axis] - 0.5) * spacing + 3.0

    def test_one_voxel_finer_than_the_grid_is_its_nearest_point(self):
        mask = MaskBox(np.ones((1, 1, 1), np.uint8), (4, 4, 4))
        assert mask_on_grid(mask, (12, 12, 12), (1.0,) * 3, 3.0).box == GridBox((1, 1, 1), (2, 2, 2))


class TestGlobalBox:
    @given(
        st.tuples(*[st.integers(30, 300)] * 3),
        st.tuples(*[st.floats(0, 0.9)] * 3),
        st.sampled_from(["whole", "around"]),
    )
    @settings(max_examples=60, deadline=None)
    def test_holds_a_small_lesion_wherever_it_lies(self, shape, place, kind):
        grid = grid_of(shape, (3.0,) * 3, 3.0)
        low = tuple(int(p * n) for p, n in zip(place, shape))
        mask = GridBox(low, tuple(m + 2 for m in low))
        inputs = InputsConfig(global_crop=kind, field_voxels=(100, 60, 60), slices_around=20)
        box = global_box(grid, mask, inputs)
        assert all(a <= m for a, m in zip(box.low, mask.low))
        assert all(m <= b for m, b in zip(mask.high, box.high))
        assert all(0 <= a < b <= n for a, b, n in zip(box.low, box.high, shape))


class TestOtherLayouts:
    @pytest.mark.parametrize("resize", ["area", "trilinear"])
    @pytest.mark.parametrize("kind", ["cube", "box"])
    def test_arrays_lie_in_the_unit_range_with_a_binary_mask(self, resize, kind):
        pet, ct, _, own = exam_of((60, 60, 80), ((20, 24), (28, 33), (60, 66)))
        layout = LayoutConfig(border="clip", resize=resize)
        config = config_of((8, 32, 32), layout)
        config = replace(config, inputs=replace(config.inputs, focal_crop=kind))
        images, focal = clipped_images(ExamArrays(pet, ct, (3.0,) * 3), own, config, np.random.default_rng(0))
        for crop in (images, focal):
            assert 0 <= crop.min() <= crop.max() <= 1
            assert set(np.unique(crop[2].numpy())) <= {0.0, 1.0}
        assert focal[2].any()

    def test_a_cut_to_the_foreground_needs_clipped_crops(self):
        with pytest.raises(ValueError, match="border 'clip'"):
            LayoutConfig(foreground_crop=True)

    def test_switches_leave_their_channel_empty(self):
        pet, ct, _, own = exam_of((60, 60, 80), ((20, 24), (28, 33), (60, 66)))
        config = replace(config_of((8, 32, 32)), use_ct=False, use_mask=False, use_focal=False)
        images, focal = clipped_images(ExamArrays(pet, ct, (3.0,) * 3), own, config)
        assert focal is None
        assert images[0].any()
        assert not images[1:].any()
