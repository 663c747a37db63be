"""Workstations: the numbers that a report gives of an image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.phantom.hard.settings import HardSettings, Workstation


@given(st.floats(0.5, 90), st.floats(0.5, 1.8), st.sampled_from([0.01, 0.1, 1.0]), st.booleans())
def test_a_shown_suv_is_the_scaled_one_rounded_or_cut(suv, scale, step, is_cut):
    shown = Workstation(scale=scale, step=step, is_cut=is_cut).shown_suv(suv, np.random.default_rng(0))
    off = shown - suv * scale
    assert (-step - 2e-3 <= off <= 2e-3) if is_cut else abs(off) <= step / 2 + 2e-3
    assert shown / step == pytest.approx(round(shown / step), abs=0.06)


@given(st.integers(1, 400), st.data(), st.integers(-8, 8))
def test_slices_are_counted_from_head_or_feet(n_k, data, offset):
    k = data.draw(st.integers(0, n_k - 1))
    assert Workstation(slice_offset=offset).shown_slice(k, n_k) == n_k - k + offset
    assert Workstation(slice_offset=offset, origin="feet").shown_slice(k, n_k) == k + 1 + offset


@pytest.mark.parametrize(
    "changes",
    [{"evidence": "none"}, {"tracers": ()}, {"tracers": ("water",)}, {"spacing_mm": 0.5}, {"organ_maps": 2.0}],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        HardSettings(**changes)


def test_a_workstation_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"expected a scale of 0\.2 to 5"):
        Workstation(scale=0)
