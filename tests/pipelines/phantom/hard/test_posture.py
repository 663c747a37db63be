"""Postures: points and images of the straight body find their place in the posed one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.phantom.body import Grid, Painted
from pipelines.phantom.hard.posture import Posture, at_another_visit, draw_extent, draw_posture, posed

POSTURES = st.integers(0, 10_000).map(lambda seed: draw_posture(np.random.default_rng(seed)))
X, Y, Z = (np.arange(-a, a + 1, 4, dtype=np.float32) for a in (200, 120, 40))


@given(POSTURES, st.floats(-150, 150), st.floats(-90, 90), st.floats(-1000, 0))
def test_a_point_keeps_its_distance_to_its_own_midplane(posture, x, y, z):
    assert posture.straight_x(posture.apply((x, y, z))) == pytest.approx(x, abs=1e-4)


@given(POSTURES, st.floats(-20, 20), st.floats(-150, 150), st.floats(-90, 90), st.floats(-1000, 0))
def test_a_point_comes_back_from_posture_and_breath(posture, breath_mm, x, y, z):
    posture = replace(posture, breath_mm=breath_mm)
    assert posture.straight(posture.apply((x, y, z))) == pytest.approx((x, y, z), abs=1e-2)


@pytest.mark.parametrize("seed", range(4))
def test_a_hot_spot_moves_with_the_body(seed):
    rng = np.random.default_rng(seed)
    posture = at_another_visit(draw_posture(rng), rng)
    grid = Grid(X, Y, Z - 400)
    suv = np.zeros(grid.shape, np.float32)
    suv[60, 40, 10] = 7.0
    spot = (float(grid.x[60]), float(grid.y[40]), float(grid.z[10]))
    body = posed(Painted(suv.astype(np.uint8), suv, suv), grid, posture)
    at = posture.apply(spot)
    box = grid.box(tuple(c - 4.5 for c in at), tuple(c + 4.5 for c in at))
    assert body.suv[box].max() == 7.0
    assert body.labels[box].max() == 7


def test_a_straight_posture_changes_nothing():
    grid = Grid(X, Y, Z)
    suv = np.random.default_rng(0).random(grid.shape).astype(np.float32)
    assert np.array_equal(posed(Painted(suv.astype(np.uint8), suv, suv), grid, Posture()).suv, suv)


def test_arms_beside_the_trunk_widen_the_scan():
    extents = [draw_extent(Posture(arms=arms), np.random.default_rng(1)) for arms in ("up", "down")]
    assert extents[1].half_mm[0] > extents[0].half_mm[0] + 50


def test_some_scans_show_no_head_and_some_no_bladder():
    extents = [draw_extent(Posture(), np.random.default_rng(seed)) for seed in range(60)]
    assert (
        {extent.top_mm > -30 for extent in extents} == {extent.bottom_mm < -950 for extent in extents} == {True, False}
    )
    assert sum(extent.top_mm < -240 for extent in extents) > 0, "from the neck down"
