"""The contours on scenes with a known truth: spheres, pairs that touch, necrotic centres, hot organs, clusters of
nodes."""

import numpy as np
import pytest
from scipy import ndimage

from benchmarks import imaging_scenes as scenes
from pipelines.imaging.lesions.contour import NO_ORGANS, Described, ExamOrgans, contour, measured_organs
from pipelines.imaging.lesions.liver import LiverUptake
from pipelines.imaging.lesions.region import Contour, StopReason
from pipelines.imaging.organ_labels import LABELS
from pipelines.settings import ContourSettings

Ball = scenes.Ball
SPACINGS = [(2.0, 2.0, 2.0), (2.5, 2.5, 2.5), (3.0, 3.0, 3.0), (4.0, 4.0, 4.0), (4.1, 4.1, 3.0)]
NONE = np.empty((0, 3), dtype=np.int64)
SETTINGS = ContourSettings()


def contour_of(scene, label, others=(), settings=SETTINGS, organ=None) -> tuple[Contour, np.ndarray]:
    """The contour of a lesion of a scene, and its mask on the scene's grid; others: labels that were reported too;
    organ: (label, class name) of what a label map names."""
    peaks = np.array([scene.peak(o) for o in others], dtype=np.int64).reshape(-1, 3)
    organs = NO_ORGANS
    if organ is not None:
        organs = ExamOrgans(np.where(scene.labels == organ[0], LABELS[organ[1]], 0).astype(np.uint8))
    made = contour(scene.suv, scene.peak(label), peaks, settings, organs)
    mask = np.zeros(scene.labels.shape, dtype=bool)
    mask[tuple(slice(c, c + n) for c, n in zip(made.corner, made.mask.shape))] = made.mask
    return made, mask


def whole(made: Contour, scene) -> np.ndarray:
    """A contour's mask on the scene's grid."""
    mask = np.zeros(scene.labels.shape, dtype=bool)
    mask[tuple(slice(c, c + n) for c, n in zip(made.corner, made.mask.shape))] = made.mask
    return mask


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


class TestSphere:
    @pytest.mark.parametrize("spacing", SPACINGS)
    @pytest.mark.parametrize(
        ("volume_ml", "suv", "tolerance"), [(10, 4, 0.10), (30, 16, 0.10), (2.5, 8, 0.25), (5, 16, 0.25)]
    )
    def test_has_its_volume(self, spacing, volume_ml, suv, tolerance):
        scene = scenes.sphere(volume_ml, spacing, suv, fwhm_mm=6.0)
        made, mask = contour_of(scene, 1)
        assert made.stop_reason is StopReason.CONVERGED
        assert mask.sum() * scene.suv.voxel_ml == pytest.approx(volume_ml, rel=tolerance)

    def test_of_a_hundred_ml_is_not_lost(self):
        scene = scenes.sphere(100, (4.0, 4.0, 4.0), 16, fwhm_mm=6.0)
        made, mask = contour_of(scene, 1)
        assert made.stop_reason is StopReason.CONVERGED
        assert mask.sum() * scene.suv.voxel_ml == pytest.approx(100, rel=0.1)

    @pytest.mark.parametrize("fwhm_mm", [5.0, 7.0])
    def test_has_its_volume_whatever_the_blur(self, fwhm_mm):
        scene = scenes.sphere(12, (3.0, 3.0, 3.0), 8, fwhm_mm=fwhm_mm)
        _, mask = contour_of(scene, 1)
        assert mask.sum() * scene.suv.voxel_ml == pytest.approx(12, rel=0.1)

    @pytest.mark.parametrize("volume_ml", [6, 20])
    def test_is_the_same_on_every_grid(self, volume_ml):
        volumes = []
        for spacing in SPACINGS:
            scene = scenes.sphere(volume_ml, spacing, 8, fwhm_mm=6.0)
            volumes.append(contour_of(scene, 1)[1].sum() * scene.suv.voxel_ml)
        assert max(volumes) / min(volumes) < 1.10

    @pytest.mark.parametrize(("part", "reason"), [(0.36, StopReason.CONVERGED), (0.5, StopReason.BORDER)])
    def test_cut_by_the_border_of_the_image_is_told(self, part, reason):
        whole = scenes.sphere(20, (3.0, 3.0, 3.0), 8, fwhm_mm=6.0)
        first = int(part * whole.suv.shape[2])
        cut = whole.suv.crop((slice(None), slice(None), slice(first, None)))
        top = tuple(int(n) for n in np.unravel_index(int(cut.array.argmax()), cut.shape))
        assert contour(cut, top, NONE, SETTINGS).stop_reason is reason


def pair(ml, suv, gap_mm, spacing, fwhm_mm=6.0):
    a, b = (scenes.radius_mm(v) for v in ml)
    half = (a + b + gap_mm) / 2
    return scenes.balls(
        [Ball((60 - half, 45, 45), a, suv[0]), Ball((60 + half, 45, 45), b, suv[1])],
        spacing,
        fwhm_mm=fwhm_mm,
    )


class TestNeighbours:
    @pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (4.0, 4.0, 4.0), (4.1, 4.1, 3.0)])
    @pytest.mark.parametrize(
        ("ml", "suv", "gap_mm"),
        [((10, 10), (10, 8), 0), ((20, 5), (8, 8), -2), ((30, 10), (6, 14), 0), ((10, 10), (10, 10), 2)],
    )
    @pytest.mark.parametrize("fwhm_mm", [6.0, 7.0])
    def test_that_touch_are_kept_apart(self, spacing, ml, suv, gap_mm, fwhm_mm):
        scene = pair(ml, suv, gap_mm, spacing, fwhm_mm)
        first, second = contour_of(scene, 1, (2,))[1], contour_of(scene, 2, (1,))[1]
        assert not (first & second).any()
        assert dice(first, scene.labels == 1) >= 0.75
        assert dice(second, scene.labels == 2) >= 0.75

    def test_a_bladder_is_not_entered(self):
        radius = scenes.radius_mm(10)
        scene = scenes.balls([Ball((36, 45, 45), 32, 40), Ball((36 + 32 + radius + 3, 45, 45), radius, 8)], (3.0,) * 3)
        _, mask = contour_of(scene, 2)
        assert not (mask & (scene.labels == 1)).any()
        assert dice(mask, scene.labels == 2) >= 0.85

    @pytest.mark.parametrize(
        ("ml", "suv", "organ", "organ_suv"),
        [(10, 12, "heart", 6), (20, 14, "brain", 9), (10, 12, "brain", 9), (10, 8, "urinary_bladder", 40)],
    )
    def test_an_organ_of_the_label_map_is_not_entered(self, ml, suv, organ, organ_suv):
        radius = scenes.radius_mm(ml)
        items = [Ball((36, 45, 45), 32, organ_suv), Ball((36 + 32 + radius, 45, 45), radius, suv)]
        scene = scenes.balls(items, (4.0, 4.0, 4.0), fwhm_mm=7.0)
        made, mask = contour_of(scene, 2, organ=(1, organ))
        assert made.stop_reason is StopReason.CONVERGED
        assert dice(mask, scene.labels == 2) >= 0.75

    @pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (4.1, 4.1, 3.0)])
    @pytest.mark.parametrize(("ml", "suv"), [((20, 20), (16, 6)), ((5, 5), (15, 7)), ((30, 10), (6, 14))])
    def test_two_of_unequal_uptake_share_their_flank(self, spacing, ml, suv):
        radii = [scenes.radius_mm(v) for v in ml]
        items = [Ball((60 - radii[0], 45, 45), radii[0], suv[0]), Ball((60 + radii[1], 45, 45), radii[1], suv[1])]
        scene = scenes.balls(items, spacing, fwhm_mm=7.0)
        for label in (1, 2):
            _, mask = contour_of(scene, label, [3 - label])
            assert abs(mask.sum() / (scene.labels == label).sum() - 1) <= 0.35
            assert dice(mask, scene.labels == label) >= 0.80

    def test_a_large_lesion_of_even_uptake_is_no_leak(self):
        scene = scenes.sphere(150, (4.0, 4.0, 4.0), 8, fwhm_mm=6.0, noise=0.08)
        assert contour_of(scene, 1)[0].stop_reason is StopReason.CONVERGED

    @pytest.mark.parametrize("spacing", [(2.5, 2.5, 2.5), (4.0, 4.0, 4.0)])
    @pytest.mark.parametrize(("ml", "suv"), [(2.5, 16), (7, 12), (7, 16)])
    def test_in_a_kidney_is_contoured_without_it(self, spacing, ml, suv):
        items = [Ball((45, 45, 45), scenes.radius_mm(90), 8), Ball((50, 45, 45), scenes.radius_mm(ml), suv)]
        scene = scenes.balls(items, spacing, size_mm=(90.0, 90.0, 90.0), noise=0.03)
        made, mask = contour_of(scene, 2)
        assert made.stop_reason is StopReason.CONVERGED
        assert dice(mask, scene.labels == 2) >= 0.75

    def test_of_a_large_lesion_with_texture_a_hot_spot_is_not_all(self):
        items = [Ball((45, 45, 45), scenes.radius_mm(90), 8), Ball((50, 45, 45), scenes.radius_mm(7), 11)]
        scene = scenes.balls(items, (4.0, 4.0, 4.0), size_mm=(90.0, 90.0, 90.0), noise=0.2)
        made, mask = contour_of(scene, 2)
        assert made.stop_reason is StopReason.CONVERGED
        assert dice(mask, scene.labels > 0) >= 0.85

    def test_a_necrotic_centre_does_not_lose_the_lesion(self):
        radius = scenes.radius_mm(30)
        scene = scenes.balls([Ball((60, 45, 45), radius, 8, 0.5 * radius, 1.5)], (3.0,) * 3)
        _, mask = contour_of(scene, 1)
        assert dice(mask, scene.labels == 1) >= 0.85


class TestLesionInAnOrgan:
    """A lesion of 17 mL that lies in a liver of SUV 4.5 which ends at cold tissue 24 mm from the lesion's middle."""

    @staticmethod
    def scene(lesion_suv=11.0, noise=0.1):
        items = [Ball((60, 60, 60), 48, 4.5), Ball((92, 60, 60), 16, lesion_suv)]
        size_mm, spacing = (140.0, 120.0, 120.0), (4.0, 4.0, 4.0)
        return scenes.balls(items, spacing, size_mm=size_mm, background_suv=0.5, noise=noise)

    @staticmethod
    def of_map(scene):
        liver = ExamOrgans(np.where(scene.labels > 0, LABELS["liver"], 0).astype(np.uint8))
        return measured_organs(liver, scene.suv, SETTINGS)

    @pytest.mark.parametrize("lesion_suv", [9.0, 11.0])
    def test_is_contoured_against_the_organ_of_the_label_map(self, lesion_suv):
        scene = self.scene(lesion_suv)
        made = contour(scene.suv, scene.peak(2), NONE, SETTINGS, self.of_map(scene))
        assert made.stop_reason is StopReason.CONVERGED
        assert dice(whole(made, scene), scene.labels == 2) >= 0.85

    def test_is_tried_again_where_the_reported_size_contradicts_it(self):
        scene = self.scene()
        leaked = contour(scene.suv, scene.peak(2), NONE, SETTINGS)
        made = contour(scene.suv, scene.peak(2), NONE, SETTINGS, described=Described(size_mm=32.0))
        assert dice(whole(leaked, scene), scene.labels == 2) < 0.5
        assert dice(whole(made, scene), scene.labels == 2) >= 0.85

    def test_has_that_organ_as_background_where_the_sentence_names_it(self):
        scene = self.scene()
        made = contour(scene.suv, scene.peak(2), NONE, SETTINGS, described=Described(in_organ=True))
        assert dice(whole(made, scene), scene.labels == 2) >= 0.85

    def test_ends_where_an_organ_would_join_it(self):
        items = [Ball((110, 110, 110), 80, 2.5), Ball((25, 110, 110), 20, 6.0)]
        scene = scenes.balls(items, (4.0,) * 3, size_mm=(220.0,) * 3, background_suv=0.3, noise=0.05)
        made = contour(scene.suv, scene.peak(2), NONE, SETTINGS)
        open_end = contour(scene.suv, scene.peak(2), NONE, SETTINGS.changed(most_joined_ml=1e5))
        assert whole(open_end, scene).sum() > 0.5 * (scene.labels == 1).sum()
        assert dice(whole(made, scene), scene.labels == 2) >= 0.7

    def test_of_its_size_is_the_same_without_the_size(self):
        scene = scenes.sphere(12, (3.0, 3.0, 3.0), 8, fwhm_mm=6.0)
        plain = contour(scene.suv, scene.peak(1), NONE, SETTINGS)
        told = contour(scene.suv, scene.peak(1), NONE, SETTINGS, described=Described(size_mm=30.0))
        np.testing.assert_array_equal(told.mask, plain.mask)

    def test_is_the_organ_where_the_peak_is_the_organs(self):
        scene = scenes.sphere(60, (4.0, 4.0, 4.0), 12, fwhm_mm=6.0)
        bladder = ExamOrgans(np.where(scene.labels == 1, LABELS["urinary_bladder"], 0).astype(np.uint8))
        organs = measured_organs(bladder, scene.suv, SETTINGS)
        made = contour(scene.suv, scene.peak(1), NONE, SETTINGS, organs)
        assert dice(whole(made, scene), scene.labels == 1) >= 0.9

    def test_beside_it_that_grew_into_it_keeps_what_is_hotter_than_the_organ(self):
        items = [Ball((60, 60, 60), 48, 4.5), Ball((112, 60, 60), 16, 11)]
        scene = scenes.balls(items, (4.0,) * 3, size_mm=(160.0, 120.0, 120.0), background_suv=0.5, noise=0.1)
        peak = scene.peak(2)
        x = np.arange(scene.labels.shape[0])[:, None, None]
        other_half = (scene.labels == 2) & ((x < peak[0] - 1) if peak[0] >= 28 else (x > peak[0] + 1))
        labels = np.where((scene.labels == 1) | other_half, LABELS["liver"], 0).astype(np.uint8)
        organs = measured_organs(ExamOrgans(labels), scene.suv, SETTINGS)
        made = contour(scene.suv, peak, NONE, SETTINGS, organs)
        assert dice(whole(made, scene), scene.labels == 2) >= 0.75


class TestNodes:
    @pytest.mark.parametrize("rim_suv", [3.5, 5.0])
    def test_of_a_cluster_are_contoured_one_by_one(self, rim_suv):
        scene = scenes.nodes(scenes.NodeSettings(rim_suv=rim_suv), seed=2)
        labels = range(1, int(scene.labels.max()) + 1)
        scores, regions = [], []
        for label in labels:
            made, mask = contour_of(scene, label, [other for other in labels if other != label])
            assert made.stop_reason is StopReason.CONVERGED
            scores.append(dice(mask, scene.labels == label))
            regions.append(mask)
        assert np.median(scores) >= 0.80
        assert np.sum(regions, axis=0).max() == 1, "two lesions share a voxel"


class TestGradualEdge:
    def test_is_followed_farther_out_than_a_sharp_one(self):
        """A lesion whose uptake falls slowly towards its rim is contoured at a lower part of its maximum."""
        spacing = np.array([3.0, 3.0, 3.0])
        x = (np.arange(32) - 15.5) * 3.0
        distance = np.sqrt(x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2)
        cone = 1.0 + 9.0 * np.clip(1 - distance / 28.0, 0, 1)
        disc = np.where(distance <= 16, 10.0, 1.0)
        levels = []
        for image in (cone, disc):
            array = ndimage.gaussian_filter(image, 6.0 / 2.355 / spacing).astype(np.float32)
            volume = scenes.Volume(array, np.diag([3.0, 3.0, 3.0, 1.0]))
            peak = tuple(int(n) for n in np.unravel_index(int(array.argmax()), array.shape))
            made = contour(volume, peak, NONE, SETTINGS)
            levels.append(made.threshold_suv / float(array.max()))
        assert levels[0] < 0.40 < levels[1]


class TestStopReason:
    def test_is_too_small_for_a_single_voxel(self):
        array = np.ones((20, 20, 20), dtype=np.float32)
        array[10, 10, 10] = 8.0
        volume = scenes.Volume(array, np.diag([4.0, 4.0, 4.0, 1.0]))
        assert contour(volume, (10, 10, 10), NONE, SETTINGS).stop_reason is StopReason.TOO_SMALL

    def test_is_no_lesion_where_nothing_stands_out(self):
        array = np.full((30, 30, 30), 4.0, dtype=np.float32)
        array[15, 15, 15] = 4.05
        volume = scenes.Volume(array, np.diag([4.0, 4.0, 4.0, 1.0]))
        assert contour(volume, (15, 15, 15), NONE, SETTINGS).stop_reason is StopReason.LEAK

    def test_is_leak_on_the_flank_of_a_hotter_organ(self):
        x = np.arange(40) * 3.0
        distance = np.sqrt((x[:, None, None] - 60) ** 2 + (x[None, :, None] - 60) ** 2 + (x[None, None, :] - 60) ** 2)
        array = (40.0 * np.exp(-((distance / 30.0) ** 2)) + 1.0).astype(np.float32)
        flank = (30, 20, 20)
        array[flank] += 0.2
        volume = scenes.Volume(array, np.diag([3.0, 3.0, 3.0, 1.0]))
        made = contour(volume, flank, NONE, SETTINGS)
        assert made.stop_reason is not StopReason.CONVERGED


class TestPublished:
    def test_is_the_formula_at_its_own_threshold(self):
        scene = scenes.sphere(12, (4.0, 4.0, 4.0), 8, fwhm_mm=6.0)
        made, mask = contour_of(scene, 1, settings=ContourSettings(method="published"))
        s = min(float(scene.suv.array[scene.peak(1)]), 10.0)
        volume_ml = mask.sum() * scene.suv.voxel_ml
        expected = s * (0.078 / volume_ml + 0.316) + 0.617 * made.background_suv
        assert made.threshold_suv == pytest.approx(expected, rel=0.05)

    def test_loses_a_hot_hundred_ml_as_the_paper_does(self):
        scene = scenes.sphere(100, (4.0, 4.0, 4.0), 16, fwhm_mm=6.0)
        assert contour_of(scene, 1, settings=ContourSettings(method="published"))[0].stop_reason is StopReason.FLAT


class TestHotNeighbour:
    def test_is_measured_whole_and_not_where_a_finding_names_it(self):
        items = [Ball((45, 45, 45), scenes.radius_mm(60), 20), Ball((45 + 24.3 + 10, 45, 45), 10.6, 6)]
        scene = scenes.balls(items, (3.0, 3.0, 3.0), noise=0.02)
        unnamed, mask = contour_of(scene, 2)
        named, _ = contour_of(scene, 2, [1])
        above = int((scene.suv.array >= unnamed.threshold_suv).sum() - mask.sum()) * scene.suv.voxel_ml
        assert unnamed.neighbour is not None
        assert unnamed.neighbour.volume_ml == pytest.approx(above, rel=0.05)
        assert unnamed.neighbour.suvmax == pytest.approx(float(scene.suv.array.max()))
        assert named.neighbour is None

    def test_is_null_where_there_is_none(self):
        assert contour_of(scenes.sphere(10, (3.0, 3.0, 3.0), 8, fwhm_mm=6.0), 1)[0].neighbour is None


class TestProtocols:
    @pytest.mark.parametrize(("method", "threshold"), [("suvmax_41", 0.41), ("suv_4", None)])
    def test_have_the_threshold_that_they_are_named_after(self, method, threshold):
        scene = scenes.sphere(12, (3.0, 3.0, 3.0), 8, fwhm_mm=6.0)
        made, mask = contour_of(scene, 1, settings=ContourSettings(method=method))
        expected = 4.0 if threshold is None else threshold * float(scene.suv.array[scene.peak(1)])
        assert made.threshold_suv == pytest.approx(expected)
        assert (mask == (scene.suv.array >= expected)).all()

    def test_hold_however_hot_the_lesion_is(self):
        scene = scenes.sphere(12, (3.0, 3.0, 3.0), 60, fwhm_mm=6.0)
        made, mask = contour_of(scene, 1, settings=ContourSettings(method="suv_4"))
        assert (made.threshold_suv, made.stop_reason) == (4.0, StopReason.CONVERGED)
        assert (mask == (scene.suv.array >= 4.0)).all()

    def test_percist_takes_the_liver_and_is_told_where_there_is_none(self):
        scene = scenes.sphere(12, (3.0, 3.0, 3.0), 8, fwhm_mm=6.0)
        settings = ContourSettings(method="percist")
        organs = ExamOrgans(liver=LiverUptake(2.0, 0.25, (0.0, 0.0, 0.0)))
        assert contour(scene.suv, scene.peak(1), NONE, settings, organs).threshold_suv == pytest.approx(3.5)
        assert contour(scene.suv, scene.peak(1), NONE, settings).stop_reason is StopReason.NO_LIVER


def test_a_single_hot_voxel_on_a_lesion_does_not_decide():
    scene = scenes.sphere(12, (3.0, 3.0, 3.0), 8, fwhm_mm=6.0)
    spiked = scene.suv.array.copy()
    peak = scene.peak(1)
    spiked[peak] *= 1.4
    plain = contour(scene.suv, peak, NONE, SETTINGS)
    made = contour(scenes.Volume(spiked, scene.suv.affine), peak, NONE, SETTINGS)
    assert made.stop_reason is StopReason.CONVERGED
    assert made.mask.sum() == pytest.approx(plain.mask.sum(), rel=0.1)


def test_no_voxel_of_a_mask_is_hotter_than_its_peak():
    for seed in range(4):
        scene = scenes.nodes(scenes.NodeSettings(rim=0.6), seed=seed)
        for label in range(1, 12):
            _, mask = contour_of(scene, label, [other for other in range(1, 12) if other != label])
            assert not mask.any() or scene.suv.array[mask].max() <= scene.suv.array[scene.peak(label)]
