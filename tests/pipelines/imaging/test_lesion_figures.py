"""Figures are judged by their pixels: where a hot spot of a known side lands, which colours are there, what size."""

import threading

import numpy as np
import pytest

from pipelines.imaging.figure_base import OUTLINE
from pipelines.imaging.lesion_figures import lesion_figure, mip_figure, suv_top, thumbnail
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume
from tests.support.png import of_colour, pixels
from tests.support.volumes import body, mask_of


class TestMipFigure:
    def test_the_outline_lies_on_the_patients_right_in_the_coronal_view(self):
        volume = body()
        image = pixels(mip_figure(volume, [mask_of(volume)]))
        columns = of_colour(image, OUTLINE)[:, 1]
        # The first of the two views ends before the middle of the figure, and the lesion lies in its left half.
        assert columns.min() < image.shape[1] * 0.2

    def test_a_hot_spot_on_the_left_lands_right_of_one_on_the_right(self):
        columns = []
        for i in (18, 45):
            volume = body((i, 40, 90))
            columns.append(of_colour(pixels(mip_figure(volume, [mask_of(volume)])), OUTLINE)[:, 1].min())
        assert columns[0] > columns[1] + 20

    def test_without_masks_nothing_is_outlined(self):
        assert len(of_colour(pixels(mip_figure(body())), OUTLINE)) == 0

    def test_proportions_are_true(self):
        """A cube of equal sides in mm is drawn as a square."""
        array = np.full((60, 50, 120), 0.5, np.float32)
        array[20:40, 20:30, 40:56] = 20.0
        volume = Volume(array, np.diag([4.0, 4.0, 5.0, 1.0]))
        image = pixels(mip_figure(volume))[:, :300]
        dark = np.argwhere(image.max(2) < 60)
        columns, rows = np.bincount(dark[:, 1]), np.bincount(dark[:, 0])
        width, height = (columns > columns.max() / 2).sum(), (rows > rows.max() / 2).sum()
        assert width == pytest.approx(height, abs=4)

    def test_a_whole_body_of_noise_stays_under_200_kb(self):
        rng = np.random.default_rng(0)
        array = rng.gamma(4.0, 0.6, (140, 90, 330)).astype(np.float32)
        assert len(mip_figure(Volume(array, np.diag([3.6, 3.6, 3.0, 1.0])))) < 200_000

    def test_it_can_be_drawn_from_several_threads_at_once(self):
        volume, drawn = body(), []
        threads = [
            threading.Thread(target=lambda: drawn.append(mip_figure(volume, [mask_of(volume)]))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(drawn) == 3
        assert len(set(drawn)) == 1


class TestLesionFigure:
    def test_with_a_ct_it_has_two_columns_more(self):
        volume = body()
        ct = Volume(np.full(volume.shape, 40, np.int16), volume.affine)
        with_ct, without = (pixels(lesion_figure(volume, c, mask_of(volume))) for c in (ct, None))
        assert with_ct.shape[1] == pytest.approx(without.shape[1] + 2 * 268, abs=2)

    def test_a_ct_on_another_grid_is_resampled(self):
        volume = body()
        coarse = np.full((30, 25, 60), 40, np.int16)
        affine = volume.affine.copy()
        affine[:3, :3] *= 2
        same = Volume(np.full(volume.shape, 40, np.int16), volume.affine)
        a = pixels(lesion_figure(volume, Volume(coarse, affine), mask_of(volume)))
        b = pixels(lesion_figure(volume, same, mask_of(volume)))
        assert np.abs(a - b).mean() < 3

    def test_the_contour_is_drawn_on_the_slice_of_the_peak(self):
        volume = body()
        image = pixels(lesion_figure(volume, None, mask_of(volume)))
        right_half = of_colour(image, OUTLINE)
        assert (right_half[:, 1] > image.shape[1] - 250).sum() > 100

    def test_without_a_mask_it_shows_the_slice_asked_for(self):
        first, second = (lesion_figure(body(), slice_k=k) for k in (90, 30))
        assert first != second
        assert len(of_colour(pixels(first), OUTLINE)) == 0

    def test_a_lesion_in_lung_is_shown_in_the_lung_window(self):
        volume = body()
        lung = np.full(volume.shape, -850, np.int16)
        soft = np.full(volume.shape, -300, np.int16)
        in_lung, in_fat = (
            pixels(lesion_figure(volume, Volume(a, volume.affine), mask_of(volume))) for a in (lung, soft)
        )
        middle = in_lung.shape[1] - 12 - round(268 * 1.5)
        # -850 HU is black in the soft tissue window and grey in that of the lung.
        assert in_lung[160:200, middle - 40 : middle + 40].mean() > 60
        assert in_fat[160:200, middle - 40 : middle + 40].mean() < 40

    def test_an_empty_mask_is_refused(self):
        volume = body()
        empty = Volume(np.zeros((3, 3, 3), np.uint8), volume.affine)
        with pytest.raises(ExamError, match="empty"):
            lesion_figure(volume, None, empty)


class TestThumbnail:
    def test_it_is_small_and_holds_the_contour(self):
        volume = body()
        png = thumbnail(volume, mask_of(volume))
        assert pixels(png).shape == (132, 132, 3)
        assert len(png) < 12_000
        assert len(of_colour(pixels(png), OUTLINE)) > 20

    def test_without_a_mask_it_is_the_slice_asked_for(self):
        assert thumbnail(body(), slice_k=90) != thumbnail(body(), slice_k=20)


class TestWindowAndZoom:
    @pytest.mark.parametrize(
        ("suvmax", "top"), [(3.0, 10.0), (15.0, 10.0), (16.0, 20.0), (66.0, 50.0), (2000.0, 500.0)]
    )
    def test_window_is_one_in_which_the_lesion_is_not_solid(self, suvmax, top):
        assert suv_top(suvmax) == top

    def test_hot_organ_shows_what_is_in_it(self):
        array = np.ones((60, 60, 20), np.float32)
        array[20:40, 20:40, 5:15] = np.linspace(30, 66, 20)[:, None, None]
        volume = Volume(array, np.diag([4.0, 4.0, 4.0, 1.0]))
        mask = Volume(np.ones((20, 20, 10), np.uint8), volume.crop((slice(20, 40), slice(20, 40), slice(5, 15))).affine)
        image = pixels(thumbnail(volume, mask)).astype(int)
        grey = image[image.max(2) - image.min(2) < 8].mean(1)
        assert len(np.unique(grey[(grey > 5) & (grey < 200)] // 10)) > 5

    def test_lesion_wider_than_the_view_is_shown_whole(self):
        array = np.ones((80, 60, 20), np.float32)
        array[15:65, 20:40, 5:15] = 6.0
        array[16, 30, 10] = 8.0
        volume = Volume(array, np.diag([4.0, 4.0, 4.0, 1.0]))
        mask = Volume(np.ones((50, 20, 10), np.uint8), volume.crop((slice(15, 65), slice(20, 40), slice(5, 15))).affine)
        image = pixels(thumbnail(volume, mask))
        columns = of_colour(image, OUTLINE)[:, 1]
        assert 2 < columns.min() < 0.25 * image.shape[1]
        assert 0.75 * image.shape[1] < columns.max() < image.shape[1] - 2


class TestRejectedFinding:
    """A finding without a mask: its slice, the nearest one with the value, and a ring where something was found."""

    def test_nearest_slice_shows_what_the_reported_one_lacks(self):
        alone = pixels(lesion_figure(body(), slice_k=20))
        both = pixels(lesion_figure(body(), slice_k=20, near_k=90))
        right = slice(alone.shape[1] // 2, None)  # Beside the projections.
        assert (alone[:, right] < 40).all(2).sum() * 2 < (both[:, right] < 40).all(2).sum()

    def test_ring_lies_around_the_voxel_on_the_patients_right(self):
        plain = pixels(lesion_figure(body(), slice_k=90))
        ringed = pixels(lesion_figure(body(), slice_k=90, mark_ijk=(45, 40, 90)))
        assert len(of_colour(plain, OUTLINE)) == 0
        assert len(of_colour(ringed, OUTLINE)) > 100

    def test_without_a_slice_the_thumbnail_is_the_projection(self):
        assert (pixels(thumbnail(body())) < 40).all(2).sum() > 5
