"""Contours made disjoint."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.imaging.lesions.overlaps import Claim, boxes_meet, masks_meet, without_overlaps
from pipelines.imaging.lesions.region import Contour, StopReason

SPACING = (2.0, 2.0, 4.0)


def ball(peak, radius: int, stop=StopReason.CONVERGED) -> Claim:
    """A ball of voxels around its peak, in a box that is just large enough."""
    x, y, z = np.ogrid[-radius : radius + 1, -radius : radius + 1, -radius : radius + 1]
    corner = tuple(int(p) - radius for p in peak)
    contour = Contour(x**2 + y**2 + z**2 <= radius**2, corner, 4.0, 1.0, 3, stop, "adaptive")
    return Claim(contour, tuple(int(p) for p in peak))


def whole(claim: Claim, shape=(64, 64, 64)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(c, c + n) for c, n in zip(claim.contour.corner, claim.contour.mask.shape))] = claim.contour.mask
    return mask


peaks = st.lists(st.tuples(*[st.integers(20, 40)] * 3), min_size=2, max_size=5, unique=True)


class TestWithoutOverlaps:
    @given(at=peaks, radii=st.lists(st.integers(1, 9), min_size=5, max_size=5))
    def test_no_voxel_is_two_lesions_and_each_keeps_its_peak(self, at, radii):
        made = without_overlaps([ball(p, r) for p, r in zip(at, radii)], SPACING)
        assert np.sum([whole(c) for c in made], axis=0).max() == 1
        assert all(whole(c)[c.peak] for c in made)

    @given(at=peaks, radii=st.lists(st.integers(1, 9), min_size=5, max_size=5))
    def test_the_order_does_not_matter(self, at, radii):
        claims = [ball(p, r) for p, r in zip(at, radii)]
        forward, backward = without_overlaps(claims, SPACING), without_overlaps(claims[::-1], SPACING)[::-1]
        for a, b in zip(forward, backward):
            np.testing.assert_array_equal(a.contour.mask, b.contour.mask)
            assert a.cut_by == b.cut_by

    def test_two_findings_of_one_peak_keep_the_same_contour(self):
        first, second = without_overlaps([ball((30, 30, 30), 4), ball((30, 30, 30), 4)], SPACING)
        np.testing.assert_array_equal(first.contour.mask, second.contour.mask)
        assert first.cut_by == ()

    def test_what_did_not_converge_takes_nothing(self):
        lesion, leak = ball((30, 30, 30), 4), ball((33, 30, 30), 9, StopReason.LEAK)
        kept, same = without_overlaps([lesion, leak], SPACING)
        np.testing.assert_array_equal(kept.contour.mask, lesion.contour.mask)
        np.testing.assert_array_equal(same.contour.mask, leak.contour.mask)

    def test_names_what_it_was_divided_with_and_keeps_its_former_box(self):
        one, other = without_overlaps([ball((30, 30, 30), 4), ball((35, 30, 30), 4)], SPACING)
        assert (one.cut_by, other.cut_by) == (((35, 30, 30),), ((30, 30, 30),))
        assert one.box == ((26, 26, 26), (35, 35, 35))


def test_masks_meet_where_they_have_a_voxel_in_common():
    a, b, far = ball((30, 30, 30), 3), ball((34, 32, 30), 3), ball((50, 30, 30), 3)
    placed = [(c.contour.corner, c.contour.mask) for c in (a, b, far)]
    assert masks_meet(placed[0], placed[1])
    assert not masks_meet(placed[0], placed[2])
    assert boxes_meet(a.box, b.box)
    assert not boxes_meet(a.box, far.box)
