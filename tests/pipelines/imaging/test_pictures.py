"""Figures are judged by their pixels: where a hot spot of a known side lands, which colours are there, what size."""

import io
import threading

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipelines.imaging.pictures import (
    OUTLINE,
    free_lane,
    funnel_figure,
    lesion_figure,
    lineage_figure,
    mip_figure,
    mip_of,
    scores_figure,
    thumbnail,
)
from pipelines.imaging.volume import Volume

SPACING_MM = (4.0, 4.0, 5.0)


def body(hot_ijk: tuple[int, int, int] = (45, 40, 90), suv: float = 15.0) -> Volume:
    """A box of SUV 1 with one hot cube; i = 45 of 60 lies to the patient's right, k = 90 of 120 near the head."""
    array = np.zeros((60, 50, 120), np.float32)
    array[10:50, 10:44, 5:115] = 1.0
    i, j, k = hot_ijk
    array[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = suv
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-120, -100, -600)
    return Volume(array, affine)


def mask_of(volume: Volume) -> Volume:
    hot = np.argwhere(volume.array > 10)
    box = tuple(slice(a - 1, b + 2) for a, b in zip(hot.min(0), hot.max(0)))
    return Volume((volume.crop(box).array > 10).astype(np.uint8), volume.crop(box).affine)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def of_colour(image: np.ndarray, hex_colour: str) -> np.ndarray:
    """(row, column) of the pixels near a colour."""
    wanted = np.array([int(hex_colour[n : n + 2], 16) for n in (1, 3, 5)])
    return np.argwhere(np.abs(image - wanted).max(2) < 40)


class TestMipOf:
    def test_the_patients_right_is_on_the_left_of_the_coronal_view(self):
        _, column = np.unravel_index(mip_of(body()).coronal.argmax(), mip_of(body()).coronal.shape)
        assert column < mip_of(body()).coronal.shape[1] / 2

    def test_the_front_is_on_the_left_of_the_sagittal_view(self):
        _, column = np.unravel_index(mip_of(body()).sagittal.argmax(), mip_of(body()).sagittal.shape)
        assert column < mip_of(body()).sagittal.shape[1] / 2

    def test_the_head_is_up(self):
        row, _ = np.unravel_index(mip_of(body()).coronal.argmax(), mip_of(body()).coronal.shape)
        assert row < mip_of(body()).coronal.shape[0] / 2

    def test_thinning_a_fine_grid_loses_no_hot_voxel(self):
        array = np.full((64, 64, 64), 0.5, np.float32)
        array[31, 17, 45] = 9.0
        mip = mip_of(Volume(array, np.diag([1.0, 1.0, 1.0, 1.0])))
        assert mip.coronal.shape == (32, 32)
        assert mip.coronal.max() == mip.sagittal.max() == 9.0

    def test_extents_are_those_of_the_body_in_the_volume_with_a_margin_of_air(self):
        """The body spans i 10..50 and j 10..44, that is 40..200 and 40..176 mm; k is never cut."""
        mip = mip_of(body())
        assert mip.coronal_extent_mm == (216.0, 24.0, 0.0, 600.0)
        assert mip.sagittal_extent_mm == (192.0, 24.0, 0.0, 600.0)

    def test_a_volume_of_air_is_shown_whole(self):
        mip = mip_of(Volume(np.zeros((20, 30, 40), np.float32), np.eye(4)))
        assert mip.coronal_extent_mm == (20.0, 0.0, 0.0, 40.0)


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

    def test_text_and_unknown_measures_are_drawn(self):
        volume = body()
        plain = lesion_figure(volume, None, mask_of(volume))
        told = lesion_figure(volume, None, mask_of(volume), "Focus in the liver.", {"SUVmax": 15.0, "TLG": None})
        assert pixels(told)[-90:].mean() < pixels(plain)[-90:].mean() or plain != told

    def test_an_empty_mask_is_refused(self):
        volume = body()
        empty = Volume(np.zeros((3, 3, 3), np.uint8), volume.affine)
        with pytest.raises(ValueError, match="empty"):
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


FUNNEL = pl.DataFrame(
    [
        ("exams", None, 24),
        ("exams with volume", None, 12),
        ("findings", None, 100),
        ("rejected", "several lesions", 50),
        ("lesions", None, 50),
    ],
    schema=["what", "reason", "n"],
    orient="row",
)


class TestFunnelFigure:
    def test_half_as_many_is_a_bar_half_as_long(self):
        image = pixels(funnel_figure(FUNNEL))
        blue = of_colour(image, "#0b6fa4")
        lengths = [np.ptp(blue[blue[:, 0] == row][:, 1]) + 1 for row in np.unique(blue[:, 0])]
        # Exams, exams with volume, findings and lesions: two full bars and two of half their length.
        assert max(lengths) == pytest.approx(2 * min(n for n in lengths if n > 20), abs=6)

    def test_a_missing_column_is_named(self):
        with pytest.raises(ValueError, match="reason"):
            funnel_figure(FUNNEL.drop("reason"))

    def test_a_cohort_of_nothing_is_drawn(self):
        assert pixels(funnel_figure(FUNNEL.with_columns(n=pl.lit(0)))).shape[2] == 3


def scores(rows: list[tuple]) -> pl.DataFrame:
    schema = {
        "model": pl.String,
        "split": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "status": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


class TestScoresFigure:
    def test_what_was_not_computed_is_not_drawn_as_zero(self):
        computed = scores([("petar", "test", "BLEU", 0.4, 0.3, 0.5, "computed")])
        missing = scores([("petar", "test", "BLEU", None, None, None, "not computed")])
        assert len(of_colour(pixels(scores_figure(computed)), "#0b6fa4")) > 50
        assert len(of_colour(pixels(scores_figure(missing)), "#0b6fa4")) == 0

    def test_names_are_whole(self):
        rows = [("a model with a very long name, finetuned", "test of a set", "BLEU", 0.4, 0.3, 0.5, "computed")]
        assert (pixels(scores_figure(scores(rows)))[:, :3] == 255).all()

    def test_published_models_have_no_line_where_no_metric_was_published(self):
        ours = [("petar", "test", metric, 0.4, 0.3, 0.5, "computed") for metric in ("organ", "BLEU")]
        with_paper = [*ours, *((f"paper {n}", "test", "BLEU", 0.5, None, None, "published") for n in range(9))]
        alone, beside = (pixels(scores_figure(scores(rows))).shape[0] for rows in (ours, with_paper))
        assert alone * 2 < beside < alone * 4

    def test_no_scores_at_all_is_drawn(self):
        assert pixels(scores_figure(scores([]))).shape[2] == 3

    def test_a_missing_column_is_named(self):
        with pytest.raises(ValueError, match="status"):
            scores_figure(scores([]).drop("status"))


class TestLineageFigure:
    def test_a_longer_chain_is_wider(self):
        short = pixels(lineage_figure([("a", "b")])).shape[1]
        long = pixels(lineage_figure([("a", "b"), ("b", "c"), ("c", "d")])).shape[1]
        assert long == pytest.approx(2 * short, rel=0.02)

    def test_a_shortcut_changes_nothing(self):
        chain = [("a", "b"), ("b", "c")]
        assert lineage_figure([*chain, ("a", "c")]) == lineage_figure(chain)

    def test_a_cycle_is_refused(self):
        with pytest.raises(ValueError, match="without cycles"):
            lineage_figure([("a", "b"), ("b", "a")])


class TestFreeLane:
    """The height of a line of a lineage: rows of boxes lie one apart, a box is half as high."""

    def test_is_the_wanted_one_where_nothing_is_in_the_way(self):
        assert free_lane(2.0, (0, 3), [0.0, 1.0], []) == 2.0

    def test_lies_between_the_boxes_that_are_passed(self):
        lane = free_lane(1.0, (0, 3), [0.0, 1.0, 2.0], [])
        assert min(abs(lane - box) for box in (0.0, 1.0, 2.0)) > 0.25

    def test_two_lines_of_the_same_columns_keep_apart(self):
        taken = []
        lanes = [free_lane(1.0, columns, [], taken) for columns in ((0, 3), (1, 4), (4, 6))]
        assert abs(lanes[0] - lanes[1]) > 0.05
        assert lanes[2] == lanes[0]


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
