"""Shapes of hard lesions on a grid: edges, cores, roughness."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.phantom.body import Grid
from pipelines.phantom.hard.tumours import HardTumour, shape_of
from pipelines.phantom.sites import SITES
from pipelines.phantom.tumours import draw_blobs

AXIS = np.arange(-60, 61, 3, dtype=np.float32)
GRID = Grid(AXIS, AXIS, AXIS)
SCALE = (1.0, 1.0, 1.0)


def tumour(radius_mm: float = 20.0, seed: int = 0, **changes: object) -> HardTumour:
    blobs = draw_blobs(radius_mm, False, np.random.default_rng(seed))
    return HardTumour("a", SITES[0], (0.0, 0.0, 0.0), blobs, 10.0, seed=seed, **changes)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.floats(8, 30), st.floats(1, 10), st.integers(0, 1000))
def test_the_volume_is_that_of_the_ellipsoid_whatever_the_edge(radius_mm, edge_mm, seed):
    shape = shape_of(tumour(radius_mm, seed, edge_mm=edge_mm), GRID, SCALE, 1.0)
    expected = 4 / 3 * np.pi * radius_mm**3
    assert shape.mask.sum() * 27 == pytest.approx(expected, rel=0.12)
    assert shape.occupancy.min() >= 0
    assert shape.occupancy.max() <= 1
    assert np.array_equal(shape.mask, shape.occupancy > 0.5)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.35, 0.7), st.integers(0, 1000))
def test_a_core_is_cold_and_not_in_the_mask(core, seed):
    shape = shape_of(tumour(25.0, seed, core=core), GRID, SCALE, 1.0)
    whole = shape_of(tumour(25.0, seed), GRID, SCALE, 1.0)
    assert (whole.mask & ~shape.mask).sum() * 27 == pytest.approx(4 / 3 * np.pi * (core * 25) ** 3, rel=0.25)
    assert shape.suv[tuple(n // 2 for n in shape.suv.shape)] < 0.5 * shape.suv[shape.mask].mean()


def test_a_core_beyond_the_surface_opens_the_rim():
    inside = shape_of(tumour(25.0, core=0.5), GRID, SCALE, 1.0)
    opened = shape_of(tumour(25.0, core=0.5, core_offset_mm=(18.0, 0.0, 0.0)), GRID, SCALE, 1.0)
    outline = shape_of(tumour(25.0), GRID, SCALE, 1.0)
    surface = outline.mask & (outline.occupancy < 0.999)
    assert (surface & ~inside.mask).sum() == 0
    assert (surface & ~opened.mask).sum() > 10


def test_texture_varies_the_uptake_about_its_mean():
    even = shape_of(tumour(25.0), GRID, SCALE, 1.0)
    textured = shape_of(tumour(25.0, variation=0.3), GRID, SCALE, 1.0)
    assert even.suv[even.mask].std() < 0.01 * even.suv[even.mask].mean()
    assert textured.suv[textured.mask].std() > 0.15 * textured.suv[textured.mask].mean()
    assert textured.suv[textured.mask].mean() == pytest.approx(10, rel=0.25)


def test_a_lesion_outside_of_the_grid_has_no_shape():
    far = HardTumour("a", SITES[0], (900.0, 0.0, 0.0), draw_blobs(8, False, np.random.default_rng(0)), 10.0)
    assert shape_of(far, GRID, SCALE, 1.0) is None
