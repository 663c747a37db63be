import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.inputs.numbers import Measured, mask_measured_numbers, put_in_measured


class TestMaskMeasuredNumbers:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("SUVmax 7.9, slice 103", "SUVmax [#], slice [#]"),
            ("SUV max of 12.3 (slice 88)", "SUV max of [#] (slice [#])"),
            ("max SUV was 4 on axial image #120", "max SUV was [#] on axial image #[#]"),
            ("a 2.3 x 1.4 cm node", "a [#] x [#] cm node"),
            ("SUVmax: [#]; Slice: [#]", "SUVmax: [#]; Slice: [#]"),
            ("The SUV max of this nodule is 6.9", "The SUV max of this nodule is [#]"),
            ("SUVmax of 11.3, previously 3.7", "SUVmax of [#], previously [#]"),
            ("unchanged from 10.0 (image 4)", "unchanged from [#] (image [#])"),
            ("SUVmax of the segment 7 lesion is 5.1", "SUVmax of the segment 7 lesion is [#]"),
            ("measures 14 mm, 35 % larger", "measures [#] mm, [#] % larger"),
        ],
    )
    def test_masks_suv_slice_and_size(self, text, expected):
        assert mask_measured_numbers(text) == expected

    @pytest.mark.parametrize(
        "text", ["L5 vertebra", "segment 7 of the liver", "station 4R node", "the 10th rib", "T12 and C3"]
    )
    def test_keeps_numbers_that_name_anatomy(self, text):
        assert mask_measured_numbers(text) == text


class TestPutInMeasured:
    measured = Measured(suvmax=7.94, slice=103, diameter_mm=23.4, mtv_ml=4.21)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Left lung, SUVmax [#], slice [#].", "Left lung, SUVmax 7.9, slice 103."),
            ("SUV max of 99.9 (slice 5)", "SUV max of 7.9 (slice 103)"),
            ("a 9.9 x 1.0 cm mass", "a 2.3 cm mass"),
            ("a [#] mm mass of 3 mL", "a 23 mm mass of 4.2 mL"),
            ("L5 vertebra, segment 7", "L5 vertebra, segment 7"),
            ("The SUV max of this nodule is 6.9, previously 4.0", "The SUV max of this nodule is 7.9, previously [#]"),
            ("SUVmean 3.3", "SUVmean [#]"),
            ("50 % larger", "[#] % larger"),
        ],
    )
    def test_replaces_what_was_generated(self, text, expected):
        assert put_in_measured(text, self.measured) == expected

    def test_unknown_values_never_keep_a_guess(self):
        assert put_in_measured("SUVmax 8.8, slice 12", Measured()) == "SUVmax [#], slice [#]"


class TestBoth:
    @given(st.text(alphabet="SUVmaxslice 0123456789.,;x[]#()cm-L", max_size=60))
    @settings(max_examples=200, deadline=None)
    def test_masking_twice_is_masking_once(self, text):
        once = mask_measured_numbers(text)
        assert mask_measured_numbers(once) == once

    @given(st.floats(2.5, 60), st.integers(1, 400))
    @settings(max_examples=30, deadline=None)
    def test_putting_back_gives_the_measured_text(self, suvmax, slice_number):
        text = f"Left lung nodule, SUVmax of {suvmax:.1f} (slice {slice_number})."
        assert put_in_measured(mask_measured_numbers(text), Measured(suvmax, slice_number)) == text
