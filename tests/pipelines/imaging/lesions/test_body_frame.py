"""Anchors of the body frame on drawn bodies, and that missing ones are not guessed."""

import numpy as np
import pytest

from pipelines.imaging.lesions.body_frame import BodyFrame, body_frame
from pipelines.imaging.lesions.peaks import find_peaks
from pipelines.imaging.volume import Volume

SPACING_MM = 5.0
SHOULDER_Z, THIGHS_Z, BLADDER_Z = 800.0, 120.0, 215.0


def body(low_mm: float = 0.0, high_mm: float = 1050.0, bladder: bool = True, shift_mm: float = 0.0) -> Volume:
    """Thighs, trunk with a bladder, neck and head between two heights; the shoulders at 800 mm."""
    x = np.arange(-250, 250, SPACING_MM)[:, None, None] - shift_mm
    y = np.arange(-150, 150, SPACING_MM)[None, :, None]
    z = np.arange(low_mm, high_mm, SPACING_MM)[None, None, :]
    trunk = ((x / 180) ** 2 + (y / 110) ** 2 <= 1) & (z >= THIGHS_Z) & (z <= SHOULDER_Z)
    thighs = (((np.abs(x) - 90) / 70) ** 2 + (y / 80) ** 2 <= 1) & (z < THIGHS_Z)
    head = ((x / 70) ** 2 + (y / 90) ** 2 <= 1) & (z > SHOULDER_Z)
    array = np.where(trunk | thighs | head, 0.8, 0.0)
    if bladder:
        array[(x**2 + (y - 20) ** 2 + (z - BLADDER_Z) ** 2) <= 30**2] = 25.0
    array[((x - 60) ** 2 + y**2 + (z - 500.0) ** 2) <= 25**2] = 30.0  # a hot lesion
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = (-250, -150, low_mm)
    return Volume(np.asfortranarray(array, dtype=np.float32), affine)


def frame_of(volume: Volume) -> BodyFrame:
    return body_frame(volume, find_peaks(volume))


class TestBodyFrame:
    def test_finds_shoulders_and_bladder(self):
        frame = frame_of(body())
        assert frame.shoulder_z_mm == pytest.approx(SHOULDER_Z, abs=15)
        assert frame.bladder_z_mm == pytest.approx(BLADDER_Z, abs=35)
        assert frame.confidence == 1.0

    def test_without_uptake_in_the_bladder_the_thighs_tell_where_it_is(self):
        assert frame_of(body(bladder=False)).bladder_z_mm == pytest.approx(BLADDER_Z, abs=40)

    def test_a_scan_without_pelvis_takes_nothing_else_for_the_bladder(self):
        frame = frame_of(body(low_mm=350.0))
        assert (frame.bladder_z_mm, frame.confidence) == (None, 0.5)

    def test_a_scan_without_head_has_no_shoulders(self):
        assert frame_of(body(high_mm=700.0)).shoulder_z_mm is None

    def test_a_scan_of_the_trunk_alone_has_no_confidence(self):
        frame = frame_of(body(low_mm=350.0, high_mm=700.0))
        assert frame.confidence == 0.0
        assert frame.along(np.zeros((1, 3))) is None

    def test_runs_from_the_shoulders_to_the_bladder(self):
        frame = frame_of(body())
        ends = np.array([[0, 0, frame.shoulder_z_mm], [0, 0, frame.bladder_z_mm]])
        np.testing.assert_allclose(frame.along(ends), [0.0, 1.0])

    def test_its_middle_is_that_of_the_body(self):
        frame = frame_of(body(shift_mm=40.0))
        assert frame.across(np.array([[40.0, 0.0, 500.0]]), np.array([100]))[0] == pytest.approx(0.0, abs=5.0)

    def test_comes_back_from_its_arrays(self):
        frame = frame_of(body(low_mm=350.0))
        again = BodyFrame.from_arrays({k: np.asarray(v) for k, v in frame.to_arrays().items()})
        assert (again.shoulder_z_mm, again.bladder_z_mm) == (frame.shoulder_z_mm, None)
        np.testing.assert_array_equal(again.middle_mm, frame.middle_mm)
