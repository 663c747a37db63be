"""Findings of one exam, from slice and SUVmax to a measured mask or a reason."""

import json
from dataclasses import replace
from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from pipelines.imaging.lesions.find_lesions import LesionRequest, find_lesions, write_mask
from pipelines.imaging.masks import place_mask
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.settings import ContourSettings, LesionSettings
from pipelines.tables.hashing import hash_of
from pipelines.tables.outcomes import Outcome

ORIENTATIONS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def request_at(volume: Volume, point, laterality=None, finding_id="E1:f", slices_off=0, suv_off=0.0) -> LesionRequest:
    """What a report would say of the hottest voxel near a point in RAS mm."""
    i, j, k = np.rint(volume.to_ijk(point)).astype(int)
    box = volume.array[max(0, i - 3) : i + 4, max(0, j - 3) : j + 4, max(0, k - 3) : k + 4]
    at = np.unravel_index(box.argmax(), box.shape)
    peak_k = max(0, k - 3) + int(at[2])
    return LesionRequest(
        finding_id, "a focus", volume.shape[2] - peak_k + slices_off, round(float(box.max()), 1) + suv_off, laterality
    )


RIGHT, LEFT = (36.0, 0.0, 0.0), (-36.0, 9.0, 6.0)


@pytest.fixture
def pair(spheres) -> Volume:
    return spheres([(RIGHT, 13.0, 9.0), (LEFT, 12.0, 6.0)])


class TestFindLesions:
    def test_finds_each_finding_where_it_is(self, pair):
        found = find_lesions(pair, [request_at(pair, RIGHT), request_at(pair, LEFT)])
        assert [f.outcome for f in found] == [Outcome.LESION, Outcome.LESION]
        for result, point in zip(found, (RIGHT, LEFT)):
            m = result.measures
            assert np.linalg.norm(np.array([m.centroid_x_mm, m.centroid_y_mm, m.centroid_z_mm]) - point) < 2.0

    @pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
    def test_finds_the_same_lesion_in_every_orientation(self, pair, axes, signs):
        order = [[a, s] for a, s in zip(axes, signs)]
        stored = Volume(
            nibabel.orientations.apply_orientation(pair.array, order),
            pair.affine @ nibabel.orientations.inv_ornt_aff(order, pair.shape),
        )
        request = request_at(pair, RIGHT, laterality="right")
        expected, got = find_lesions(pair, [request])[0], find_lesions(stored, [request])[0]
        assert got.outcome is Outcome.LESION
        assert got.to_row() == pytest.approx(expected.to_row())
        np.testing.assert_array_equal(got.mask.array, expected.mask.array)

    def test_another_suvmax_is_not_in_the_image_and_the_nearest_is_told(self, pair):
        request = request_at(pair, RIGHT, suv_off=1.0)
        result = find_lesions(pair, [request])[0]
        assert result.outcome is Outcome.NOT_IN_IMAGE
        assert result.location["nearest_suvmax_on_slice"] == pytest.approx(request.suvmax_reported - 1.0, abs=0.1)
        assert result.location["nearest_slice_with_suvmax"] is None

    def test_another_slice_is_not_in_the_image_and_the_right_one_is_told(self, pair):
        request = request_at(pair, RIGHT, slices_off=12)
        result = find_lesions(pair, [request])[0]
        assert result.outcome is Outcome.NOT_IN_IMAGE
        assert result.location["nearest_slice_with_suvmax"] == request.slice - 12

    @pytest.mark.parametrize("slice_", [0, 41, -3, 400])
    def test_a_slice_outside_is_said(self, pair, slice_):
        assert find_lesions(pair, [LesionRequest("E1:f", "", slice_, 9.0)])[0].outcome is Outcome.SLICE_OUTSIDE

    def test_the_wrong_side_is_said(self, pair):
        assert find_lesions(pair, [request_at(pair, RIGHT, laterality="left")])[0].outcome is Outcome.WRONG_SIDE

    def test_near_the_midline_no_side_is_wrong(self, spheres):
        volume = spheres([((6.0, 0.0, 0.0), 12.0, 8.0)])
        result = find_lesions(volume, [request_at(volume, (6.0, 0.0, 0.0), laterality="left")])[0]
        assert result.outcome is Outcome.LESION

    def test_of_two_alike_the_side_decides(self, spheres):
        volume = spheres([((36.0, 0.0, 0.0), 12.0, 8.0), ((-36.0, 0.0, 0.0), 12.0, 8.0)])
        neither, left = find_lesions(
            volume, [request_at(volume, RIGHT), request_at(volume, RIGHT, laterality="left", finding_id="E1:g")]
        )
        assert left.outcome is Outcome.LESION
        assert left.measures.centroid_x_mm < 0
        assert neither.outcome is Outcome.LESION, "the other peak is taken, so one is left"
        assert neither.measures.centroid_x_mm > 0

    def test_of_two_alike_that_nothing_settles_both_are_kept(self, spheres):
        volume = spheres([((36.0, 0.0, 0.0), 12.0, 8.0), ((-36.0, 0.0, 0.0), 12.0, 8.0)])
        result = find_lesions(volume, [request_at(volume, RIGHT)])[0]
        assert result.outcome is Outcome.AMBIGUOUS
        assert [c["n"] for c in json.loads(result.location["candidates"])] == [1, 2]

    def test_of_two_alike_the_one_with_its_peak_on_the_slice_is_meant(self, spheres):
        volume = spheres([((36.0, 0.0, 0.0), 12.0, 8.0), ((-36.0, 0.0, 6.0), 12.0, 8.0)])
        for point in ((36.0, 0.0, 0.0), (-36.0, 0.0, 6.0)):
            result = find_lesions(volume, [request_at(volume, point)])[0]
            assert result.outcome is Outcome.LESION
            assert result.measures.centroid_x_mm == pytest.approx(point[0], abs=2.0)

    def alike(self, scaled, spheres, first, second, values) -> tuple[Volume, list[LesionRequest]]:
        """Two spheres with these SUVmax, and what a report says of each."""
        volume = scaled(spheres([(first, 9.0, 8.0), (second, 9.0, 8.0)]), [first, second], values)
        return volume, [request_at(volume, p, finding_id=n) for p, n in ((first, "a"), (second, "b"))]

    def test_of_two_on_one_slice_the_one_that_rounds_to_the_value_is_meant(self, scaled, spheres):
        volume, asked = self.alike(scaled, spheres, (36.0, 0.0, 0.0), (-36.0, 0.0, 0.0), (8.1, 8.0))
        for request, sign in zip(asked, (1, -1)):
            (alone,) = find_lesions(volume, [request])
            assert alone.outcome is Outcome.LESION
            assert sign * alone.measures.centroid_x_mm > 0
        assert [r.outcome for r in find_lesions(volume, asked)] == [Outcome.LESION, Outcome.LESION]

    def test_of_two_alike_that_touch_the_one_on_the_slice_is_meant(self, scaled, spheres):
        volume, asked = self.alike(scaled, spheres, (0.0, 0.0, 9.0), (0.0, 0.0, -12.0), (8.04, 7.97))
        for request, z_mm in zip(asked, (9.0, -12.0)):
            (alone,) = find_lesions(volume, [request])
            assert alone.measures.peak_z_mm == pytest.approx(z_mm, abs=4.0)
        a, b = find_lesions(volume, asked)
        assert a.measures.peak_z_mm > b.measures.peak_z_mm
        assert a.shares_with == ()

    def test_of_two_alike_that_touch_on_one_slice_none_is_meant_without_a_side(self, scaled, spheres):
        volume, (request, _) = self.alike(scaled, spheres, (19.5, 0.0, 0.0), (-1.5, 0.0, 0.0), (8.04, 7.97))
        assert find_lesions(volume, [request])[0].outcome is Outcome.AMBIGUOUS

    def test_texture_of_one_lesion_is_no_second_one(self, spheres):
        volume = spheres([((0.0, 0.0, 0.0), 20.0, 8.0)], noise=0.06)
        top = float(volume.array.max())
        volume.array[volume.array > 0.985 * top] = top
        result = find_lesions(volume, [request_at(volume, (0.0, 0.0, 0.0))])[0]
        assert result.outcome is Outcome.LESION

    def test_one_that_touches_a_hotter_one_is_meant_where_it_alone_fits_to_the_letter(self, scaled, spheres):
        near, far, hot = (15.0, 0.0, 0.0), (-42.0, 0.0, 4.0), (39.0, 0.0, 0.0)
        volume = spheres([(near, 9.0, 8.0), (far, 9.0, 8.0), (hot, 11.0, 30.0)], shape=(56, 44, 40))
        volume = scaled(volume, [near, far], (8.0, 7.92))
        result = find_lesions(volume, [replace(request_at(volume, near), suvmax_reported=8.0)])[0]
        assert result.measures.peak_x_mm == pytest.approx(near[0], abs=4.0)

    def test_a_lesion_that_touches_a_hotter_one_is_found_by_its_basin(self, spheres):
        volume = spheres([((-12.0, 0.0, 0.0), 11.0, 14.0), ((13.0, 0.0, 0.0), 11.0, 9.0)])
        result = find_lesions(volume, [request_at(volume, (16.0, 0.0, 0.0))])[0]
        assert result.outcome is Outcome.LESION
        assert result.measures.centroid_x_mm == pytest.approx(13.0, abs=4.0)

    def test_two_that_touch_are_told_apart(self, spheres):
        volume = spheres([((-12.0, 0.0, 0.0), 11.0, 14.0), ((13.0, 0.0, 0.0), 11.0, 9.0)])
        a, b = find_lesions(volume, [request_at(volume, (-12.0, 0.0, 0.0)), request_at(volume, (16.0, 0.0, 0.0))])
        assert not (place_mask(a.mask, volume) & place_mask(b.mask, volume)).any()
        assert a.shares_with == b.shares_with == ()

    def test_two_that_mean_the_same_are_recorded(self, pair):
        a, b = find_lesions(pair, [request_at(pair, RIGHT, finding_id="a"), request_at(pair, RIGHT, finding_id="b")])
        assert (a.shares_with, b.shares_with) == (("b",), ("a",))

    def test_no_request_gives_no_result(self, pair):
        assert find_lesions(pair, []) == []


class TestLesionResult:
    def test_its_row_has_the_columns_of_localisations(self, pair):
        columns = """finding_id outcome explanation evidence posterior margin_nats n_candidates candidates chance_peaks
        place_used belongs_llr mirrored_llr sentence slice slice_k suvmax_reported peak_i peak_j peak_k
        peak_x_mm peak_y_mm peak_z_mm centroid_i centroid_j centroid_k centroid_x_mm centroid_y_mm centroid_z_mm box_i0
        box_j0 box_k0 box_i1 box_j1 box_k1 n_voxels voxel_ml spacing_i_mm spacing_j_mm spacing_k_mm suvmax suvmean
        suvpeak mtv_ml tlg diameter_mm threshold_suv background_suv iterations stop_reason touches_border method
        tumour_to_background nearest_suvmax_on_slice nearest_slice_with_suvmax shares_with organs_met size_ratio
        neighbour_ml neighbour_suvmax"""
        for request in (request_at(pair, RIGHT), request_at(pair, RIGHT, suv_off=2.0)):
            assert sorted(find_lesions(pair, [request])[0].to_row()) == sorted(columns.split())

    def test_compares_tumour_and_background(self, pair):
        row = find_lesions(pair, [request_at(pair, RIGHT)])[0].to_row()
        assert row["tumour_to_background"] == pytest.approx(row["suvmax"] / row["background_suv"])

    def test_unknown_is_none(self, pair):
        row = find_lesions(pair, [request_at(pair, RIGHT, suv_off=2.0)])[0].to_row()
        assert {
            row[c] for c in ("suvmax", "tumour_to_background", "threshold_suv", "peak_i", "stop_reason", "method")
        } == {None}


class TestWriteMask:
    def test_writes_the_box_in_its_place(self, tmp_path, pair):
        result = find_lesions(pair, [request_at(pair, RIGHT, finding_id="E1:0a1b#2")])[0]
        path = write_mask(result, tmp_path)
        assert path.name == "0a1b-2.nii.gz"
        mask = load_nifti(path)
        assert mask.array.dtype == np.uint8
        whole = place_mask(mask, pair)
        assert int(whole.sum()) == result.measures.n_voxels
        assert pair.array[whole].max() == pytest.approx(result.measures.suvmax)

    def test_refuses_where_there_is_none(self, tmp_path, pair):
        with pytest.raises(ValueError, match="no mask"):
            write_mask(find_lesions(pair, [request_at(pair, RIGHT, suv_off=2.0)])[0], tmp_path)


class TestSettings:
    def test_are_values_that_can_be_hashed(self):
        assert hash_of(LesionSettings()) == hash_of(LesionSettings())
        other = LesionSettings(contour=ContourSettings(method="published"))
        assert hash_of(other) != hash_of(LesionSettings())

    def test_name_the_contours_there_are(self):
        with pytest.raises(ValueError, match="published"):
            ContourSettings(method="nonsense")
