from dataclasses import replace

import numpy as np
import pytest
import torch

from model.inputs.tensors import (
    LABEL_IGNORED,
    LesionDataset,
    SampleError,
    collate,
    epoch_batches,
    place_mask,
    target_text,
)
from pipelines.imaging.volume import Volume, save_nifti


def moved_affine(corner):
    affine = np.array([[4.0, 0, 0, -46.0], [0, 4.0, 0, -38.0], [0, 0, 4.0, -700.0], [0, 0, 0, 1]])
    affine[:3, 3] += 4.0 * np.array(corner)
    return affine


def dataset(lake, config, tokenizer, **kwargs):
    return LesionDataset(lake.samples, config, tokenizer, lake.home, **kwargs)


class TestLesionDataset:
    def test_mask_lies_on_the_side_that_the_text_says(self, lake, micro, tokenizer):
        data = dataset(lake, micro, tokenizer)
        for row, item in zip(data.rows, (data[i] for i in range(len(data)))):
            x = np.nonzero(item.images[2].sum((0, 1)).numpy())[0].mean()
            # x runs from the patient's right, so left is the far half.
            assert (x > 7.5) == (row["laterality"] == "left")

    def test_lesion_is_hottest_under_its_mask(self, lake, micro, tokenizer):
        item = dataset(lake, micro, tokenizer)[0]
        pet, mask = item.focal[0], item.focal[2] > 0
        assert pet[mask].mean() > 3 * pet[~mask].mean()

    def test_images_lie_in_the_unit_range(self, lake, micro, tokenizer):
        item = dataset(lake, micro, tokenizer)[2]
        for images in (item.images, item.focal):
            assert images.min() >= 0
            assert images.max() <= 1
            assert images.shape == (3, *micro.vision.image_shape)

    def test_same_seed_epoch_and_sample_give_the_same_item(self, lake, micro, tokenizer):
        first = dataset(lake, micro, tokenizer, seed=7)[(3, 2)]
        again = dataset(lake, micro, tokenizer, seed=7)[(3, 2)]
        assert torch.equal(first.focal, again.focal)

    def test_another_epoch_jitters_the_focal_crop_only(self, lake, micro, tokenizer):
        data = dataset(lake, micro, tokenizer, seed=7)
        a, b = data[(0, 2)], data[(1, 2)]
        assert torch.equal(a.images, b.images)
        assert not torch.equal(a.focal, b.focal)

    def test_without_seed_there_is_no_jitter(self, lake, micro, tokenizer):
        data = dataset(lake, micro, tokenizer)
        assert torch.equal(data[(0, 2)].focal, data[(5, 2)].focal)

    def test_lesion_without_ct_has_an_empty_ct(self, lake, micro, tokenizer):
        data = dataset(lake, micro, tokenizer)
        without = next(i for i, row in enumerate(data.rows) if row["ct_path"] is None)
        item = data[without]
        assert item.images[1].abs().sum() == 0
        assert data[0].images[1].sum() > 0

    @pytest.mark.parametrize(("switch", "channel"), [("use_ct", 1), ("use_mask", 2)])
    def test_switched_off_channels_are_empty(self, lake, micro, tokenizer, switch, channel):
        item = dataset(lake, replace(micro, **{switch: False}), tokenizer)[0]
        assert item.images[channel].abs().sum() == 0

    def test_without_focal_there_is_none(self, lake, micro, tokenizer):
        assert dataset(lake, replace(micro, use_focal=False), tokenizer)[0].focal is None

    def test_around_crop_holds_the_lesion_in_its_middle(self, lake, micro, tokenizer):
        config = replace(micro, inputs=replace(micro.inputs, global_crop="around"))
        item = dataset(lake, config, tokenizer)[0]
        z = np.nonzero(item.images[2].sum((1, 2)).numpy())[0]
        assert {3, 4} & set(z.tolist())

    def test_lesion_beyond_the_field_is_still_seen(self, lake, micro, tokenizer):
        # 20 slices of 3 mm from the head hold none of the lesions at k 8..28 of 40, 4 mm each.
        config = replace(micro, inputs=replace(micro.inputs, field_voxels=(20, 40, 40)))
        data = dataset(lake, config, tokenizer)
        assert all(data[i].images[2].sum() > 0 for i in range(3))

    def test_target_numbers_are_masked_only_where_asked(self, lake, micro):
        row = lake.samples.row(0, named=True)
        assert "[#]" in target_text(row, micro)
        assert target_text(row, replace(micro, mask_numbers=False)) == row["target"]


class TestGlobalJitter:
    def moved(self, micro):
        return replace(micro, inputs=replace(micro.inputs, global_jitter_voxels=2))

    def test_moves_pet_and_mask_together_in_the_plane(self, lake, micro, tokenizer):
        still, moving = (dataset(lake, c, tokenizer, seed=0) for c in (micro, self.moved(micro)))
        for epoch in range(4):
            a, b = still[(epoch, 0)].images, moving[(epoch, 0)].images
            steps = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
            rolled = [torch.roll(a, step, (2, 3)) for step in steps]
            inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
            assert sum(torch.equal(r[inner], b[inner]) for r in rolled) == 1

    def test_is_for_training_alone(self, lake, micro, tokenizer):
        still, moving = (dataset(lake, c, tokenizer) for c in (micro, self.moved(micro)))
        assert torch.equal(still[0].images, moving[0].images)

    def test_is_the_same_for_the_same_seed_and_epoch(self, lake, micro, tokenizer):
        one, two = (dataset(lake, self.moved(micro), tokenizer, seed=0) for _ in range(2))
        assert torch.equal(one[(3, 1)].images, two[(3, 1)].images)


class TestProblems:
    def first(self, samples, lake, config, tokenizer):
        (problem,) = LesionDataset(samples, config, tokenizer, lake.home).problems()
        return problem

    def test_good_samples_have_none(self, lake, micro, tokenizer):
        assert dataset(lake, micro, tokenizer).problems() == []

    def test_names_a_missing_file(self, lake, micro, tokenizer):
        problem = self.first(lake.with_row(1, mask_path="masks/none.nii.gz"), lake, micro, tokenizer)
        assert problem.sample_id == "E0:1"
        assert "none.nii.gz" in problem.message

    def test_names_a_finding_longer_than_the_context(self, lake, micro, tokenizer):
        problem = self.first(lake.with_row(1, target="left lung " * 90), lake, micro, tokenizer)
        assert "96 tokens" in problem.message

    def test_names_an_empty_target(self, lake, micro, tokenizer):
        assert "empty" in self.first(lake.with_row(1, target=" "), lake, micro, tokenizer).message

    def test_names_a_mask_that_belongs_to_another_grid(self, lake, micro, tokenizer, tmp_path):
        far = Volume(np.ones((3, 3, 3), np.uint8), moved_affine((40, 0, 0)))
        path = save_nifti(far, tmp_path / "far.nii.gz")
        assert "inside the PET" in self.first(lake.with_row(1, mask_path=str(path)), lake, micro, tokenizer).message


class TestPlaceMask:
    reference = Volume(np.zeros((24, 20, 40), np.float32), moved_affine((0, 0, 0)))

    def test_places_a_cropped_mask_exactly(self):
        array = np.zeros((4, 4, 4), np.uint8)
        array[1:3, 1:3, 1:3] = 1
        placed = place_mask(Volume(array, moved_affine((5, 6, 7))), self.reference)
        assert placed.origin == (6, 7, 8)
        assert placed.array.shape == (2, 2, 2)

    def test_resamples_a_mask_of_another_grid(self):
        affine = moved_affine((5, 6, 7))
        affine[:3, :3] /= 2
        placed = place_mask(Volume(np.ones((8, 8, 8), np.uint8), affine), self.reference)
        assert all(3 <= n <= 5 for n in placed.array.shape)

    def test_empty_mask_is_an_error(self):
        with pytest.raises(SampleError, match="empty"):
            place_mask(Volume(np.zeros((3, 3, 3), np.uint8), moved_affine((1, 1, 1))), self.reference)


class TestAnatomyMask:
    def test_takes_one_label_of_a_map_stored_in_another_order(self, lake, micro, tokenizer, tmp_path):
        labels = np.zeros((24, 20, 40), np.uint8)
        labels[4:7, 6:9, 20:30] = 5
        labels[17:20, 6:9, 20:30] = 1
        flipped = np.diag([-1.0, 1, 1, 1])
        flipped[0, 3] = 23
        path = save_nifti(Volume(labels[::-1], moved_affine((0, 0, 0)) @ flipped), tmp_path / "TOTALSEG.nii.gz")
        samples = lake.with_row(0, kind="anatomy", mask_path=str(path), mask_label=5)
        item = LesionDataset(samples, micro, tokenizer, lake.home)[0]
        # Label 5 is at small i: the patient's left, the far half of x.
        assert np.nonzero(item.images[2].sum((0, 1)).numpy())[0].mean() > 7.5


class TestCollate:
    def items(self, lake, micro, tokenizer):
        data = dataset(lake, micro, tokenizer)
        return [data[0], data[1]]

    def test_labels_are_the_answer_alone(self, lake, micro, tokenizer):
        batch = collate(self.items(lake, micro, tokenizer), tokenizer.pad_id)
        for item, labels in zip(self.items(lake, micro, tokenizer), batch.labels):
            assert labels[labels != LABEL_IGNORED].tolist() == item.encoded.answer

    def test_pads_left_for_generation(self, lake, micro, tokenizer):
        items = self.items(lake, micro, tokenizer)
        items[0].encoded.prompt.append(5)
        batch = collate(items, tokenizer.pad_id, pad_left=True)
        assert bool(batch.attention_mask[:, -1].all())


class TestParts:
    def test_are_the_batch_in_order(self, lake, micro, tokenizer):
        data = dataset(lake, micro, tokenizer)
        batch = collate([data[i] for i in range(5)], tokenizer.pad_id)
        parts = batch.parts(2)
        assert [len(part.indices) for part in parts] == [2, 3]
        assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
        assert sum(part.n_answer_tokens for part in parts) == batch.n_answer_tokens

    def test_are_never_empty(self, lake, micro, tokenizer):
        batch = collate([dataset(lake, micro, tokenizer)[0]], tokenizer.pad_id)
        assert len(batch.parts(4)) == 1


class TestEpochBatches:
    def test_each_sample_once_in_another_order_each_epoch(self):
        first, second = (list(epoch_batches(10, 3, 0, e)) for e in (0, 1))
        assert sorted(i for b in first for _, i in b) == list(range(10))
        assert first != second
        assert first == list(epoch_batches(10, 3, 0, 0))

    def test_limit_takes_some(self):
        assert sum(len(b) for b in epoch_batches(100, 8, 0, 0, limit=20)) == 20
