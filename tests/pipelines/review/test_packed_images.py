"""Images packed for a page: every value comes back, block means lie where their voxels were."""

import base64
import gzip
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.imaging.volume import Volume
from pipelines.review.packed_images import PackedImage, block_means, packed, smoothed_outside


def unpacked(image: PackedImage) -> np.ndarray:
    """As the page does it, in the order x fastest."""
    raw = np.frombuffer(gzip.decompress(base64.b64decode(image.data)), np.uint8)
    if image.bytes == 1:
        return raw.reshape(image.shape, order="F")
    planes = raw.reshape(image.bytes, -1).astype(np.uint64)
    coded = sum(planes[n] << np.uint64(8 * n) for n in range(image.bytes)).astype(np.int64)
    steps = (coded >> 1) ^ -(coded & 1)
    bits = 8 * image.bytes
    whole = np.cumsum(steps) % (1 << bits)
    return np.where(whole >= 1 << (bits - 1), whole - (1 << bits), whole).reshape(image.shape, order="F")


def from_json(image: dict[str, Any]) -> np.ndarray:
    """The values of an image as a page holds it."""
    return unpacked(PackedImage(tuple(image["shape"]), image["bytes"], image["data"]))


@settings(max_examples=60)
@given(st.data())
@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8])
def test_every_value_comes_back(kind: type, data: Any) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 3))
    values = data.draw(arrays.arrays(kind, shape))
    image = packed(values)
    assert image.shape == shape
    assert np.array_equal(unpacked(image), values)


class TestBlockMeans:
    def test_a_block_lies_in_the_middle_of_its_voxels(self) -> None:
        array = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3)
        volume = Volume(array, np.diag([2.0, 3.0, 4.0, 1.0]))
        made = block_means(volume, (2, 2, 1))
        assert made.shape == (2, 2, 3)
        assert made.array[1, 1, 2] == array[2:4, 2:4, 2].mean()
        assert made.to_ras_mm([1, 1, 2]).tolist() == volume.to_ras_mm([2.5, 2.5, 2]).tolist()

    def test_a_block_is_no_larger_than_the_image(self) -> None:
        volume = Volume(np.arange(3, dtype=np.int16).reshape(1, 1, 3), np.eye(4))
        assert block_means(volume, (4, 4, 4)).array.tolist() == [[[1.0]]]


class TestSmoothedOutside:
    def test_boxes_stay_and_the_rest_are_means(self) -> None:
        values = np.random.default_rng(0).uniform(0, 5, (7, 6, 5)).astype(np.float32)
        box = (slice(2, 4), slice(1, 3), slice(0, 2))
        made = smoothed_outside(values, 3, [box])
        assert np.array_equal(made[box], values[box])
        assert made[6, 0, 4] == pytest.approx(values[6:, :3, 3:].mean(), abs=1e-5)
        assert made.mean() == pytest.approx(values.mean(), rel=0.2)
