"""Hard exams against their claims: what the truth says is in the image, and the image is as hard as said."""

from collections.abc import Iterator
from datetime import date
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from pipelines.imaging.organ_labels import LABELS
from pipelines.phantom.body import draw_patient
from pipelines.phantom.exam import PhantomExam
from pipelines.phantom.hard.exam import HardVisit, make_hard_exam
from pipelines.phantom.hard.settings import TRACERS, HardSettings, Workstation
from pipelines.tables.outcomes import Outcome

COARSE = HardSettings(spacing_mm=5.0)


@cache
def draw(seed: int, settings: HardSettings = COARSE) -> PhantomExam:
    patient = draw_patient("P1", np.random.default_rng([seed, 1]))
    return make_hard_exam(HardVisit("PX-0001", patient, date(2020, 1, 1)), settings, np.random.default_rng([seed, 2]))


@pytest.fixture(scope="module")
def exams() -> list[PhantomExam]:
    return [draw(seed) for seed in range(6)]


def lesions_of(exams: list[PhantomExam]) -> Iterator[tuple[PhantomExam, object]]:
    yield from ((exam, lesion) for exam in exams for lesion in exam.lesions)


def prominent_peaks(suv: np.ndarray, floor_suv: float = 2.5, share: float = 0.3) -> int:
    """Local maxima above a floor whose prominence is this share of them: voxels joined from the hottest down."""
    padded = np.pad(suv, 1)
    flat = padded.ravel()
    voxels = np.flatnonzero(flat > floor_suv)
    voxels = voxels[np.argsort(-flat[voxels], kind="stable")]
    a, b = padded.shape[1] * padded.shape[2], padded.shape[2]
    steps = [i * a + j * b + k for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    top: dict[int, int] = {}
    count = 0

    def find(v: int) -> int:
        while top[v] != v:
            top[v] = top[top[v]]
            v = top[v]
        return v

    for v in voxels.tolist():
        top[v] = v
        for n in {find(v + s) for s in steps if v + s in top} - {v}:
            mine = find(v)
            low, high = sorted((mine, n), key=lambda t: float(flat[t]))
            if low != v and low != high:
                count += flat[low] - flat[v] >= share * flat[low]
            top[low] = high
    return count + len({find(v) for v in top})


class TestLesions:
    def test_the_peak_is_in_the_mask_and_the_hottest_of_its_neighbourhood(self, exams):
        for exam, lesion in lesions_of(exams):
            i, j, k = lesion.peak.ijk
            assert lesion.mask[tuple(p - b.start for p, b in zip(lesion.peak.ijk, lesion.box))]
            around = exam.suv[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2]
            assert exam.suv[i, j, k] == around.max()
            assert exam.suv[i, j, k] == pytest.approx(lesion.peak.suvmax, abs=1e-3)

    def test_masks_lie_in_the_body_off_the_hot_organs(self, exams):
        for exam, lesion in lesions_of(exams):
            inside = exam.painted.hu[lesion.box][lesion.mask]
            labels = exam.painted.labels[lesion.box][lesion.mask]
            assert ((inside < -900) & (labels == 0)).mean() <= 0.02, lesion.lesion_id

    def test_masks_do_not_overlap_and_are_one_part(self, exams):
        for exam in exams:
            taken = np.zeros(exam.suv.shape, int)
            for lesion in exam.lesions:
                taken[lesion.box] += lesion.mask
            assert taken.max(initial=0) <= 1

    def test_nodes_of_a_chain_touch(self):
        pairs = [
            (exam, lesion, other)
            for exam in (draw(seed) for seed in range(10))
            for lesion in exam.lesions
            for other in exam.lesions
            if lesion.tumour.touches == other.lesion_id
        ]
        assert len(pairs) > 5
        for exam, lesion, other in pairs:
            masks = [np.zeros(exam.suv.shape, bool) for _ in range(2)]
            for mask, imaged in zip(masks, (lesion, other)):
                mask[imaged.box] = imaged.mask
            assert (ndimage.binary_dilation(masks[0], np.ones((3, 3, 3)), iterations=2) & masks[1]).any()

    def test_there_are_large_ones_and_small_ones_open_rims_and_soft_edges(self):
        tumours = [(i.tumour, i.mask.sum() * 0.125) for seed in range(10) for i in draw(seed).lesions]
        assert 100 < max(volume_ml for _, volume_ml in tumours) < 600
        assert min(volume_ml for _, volume_ml in tumours) < 3
        assert any(np.linalg.norm(t.core_offset_mm) + t.core * t.radius_mm > t.radius_mm for t, _ in tumours if t.core)
        assert any(t.edge_mm >= 8 for t, _ in tumours)


class TestImage:
    def test_it_has_100_to_400_prominent_peaks(self, exams):
        counts = [prominent_peaks(exam.suv) for exam in exams]
        assert 100 <= np.median(counts) <= 400
        assert all(40 <= count <= 500 for count in counts), counts

    @pytest.mark.parametrize(("tracer", "hot", "cold"), [("FDG", "brain", "spleen"), ("DOTATATE", "spleen", "brain")])
    def test_organs_are_as_hot_as_the_tracer_makes_them(self, tracer, hot, cold):
        exam = next(
            e
            for e in (draw(seed, HardSettings(spacing_mm=5.0, tracers=(tracer,))) for seed in range(8))
            if all((e.painted.labels == LABELS[n]).sum() > 50 for n in (hot, cold))
        )
        means = [exam.suv[exam.painted.labels == LABELS[n]].mean() for n in (hot, cold)]
        assert means[0] > 3 * means[1]


class TestReport:
    def test_a_slice_and_a_suv_are_those_of_the_lesion(self, exams):
        for exam in exams:
            for truth in exam.truths:
                if truth.claim.outcome is Outcome.LESION:
                    assert truth.claim.suvmax_reported == pytest.approx(truth.imaged.peak.suvmax, abs=0.051)
                    k = exam.suv.shape[2] - truth.claim.slice
                    box = truth.imaged.box[2]
                    assert box.start <= k < box.stop
                    assert str(truth.claim.slice) in truth.sentence

    def test_a_workstation_changes_the_numbers_and_not_the_image(self, exams):
        station = Workstation(scale=0.75, slice_offset=2, origin="feet", step=1.0)
        exam = draw(0, HardSettings(spacing_mm=5.0, workstation=station))
        assert np.array_equal(exam.suv, exams[0].suv)
        lesions = [t for t in exam.truths if t.claim.outcome is Outcome.LESION]
        assert lesions
        for truth in lesions:
            assert truth.claim.suvmax_reported == pytest.approx(0.75 * truth.imaged.peak.suvmax, abs=0.51)
            assert truth.claim.slice == truth.imaged.slice_k + 1 + 2
            assert f"{truth.claim.suvmax_reported:.0f}" in truth.sentence

    def test_what_is_not_in_the_image_has_no_peak_of_its_suv_near_its_slice(self, exams):
        absent = [(e, t.claim) for e in exams for t in e.truths if t.claim.outcome is Outcome.NOT_IN_IMAGE]
        assert absent
        for exam, claim in absent:
            top = (ndimage.maximum_filter(exam.suv, 3) == exam.suv) & (np.abs(exam.suv - claim.suvmax_reported) < 0.2)
            k = exam.suv.shape[2] - claim.slice
            assert not top[:, :, max(0, k - 6) : k + 7].any()

    def test_some_reports_speak_of_the_bladder(self, exams):
        truths = [t for e in (*exams, *(draw(s) for s in range(6, 10))) for t in e.truths]
        physiologic = [t for t in truths if t.imaged and t.imaged.tumour is None]
        assert physiologic
        assert all("bladder" in t.sentence for t in physiologic)

    def test_without_slices_no_sentence_names_one(self):
        exam = draw(3, HardSettings(evidence="suv", spacing_mm=5.0))
        assert exam.truths
        assert {t.claim.slice for t in exam.truths} == {None}
        assert not any(word in t.sentence for t in exam.truths for word in ("slice", "image"))

    def test_mixed_reports_have_every_kind_of_evidence(self):
        truths = [t for seed in range(6) for t in draw(seed, HardSettings(evidence="mixed", spacing_mm=8.0)).truths]
        kinds = {(t.claim.slice is not None, t.claim.suvmax_reported is not None) for t in truths if t.imaged}
        assert kinds == {(True, True), (True, False), (False, True), (False, False)}
        assert all((t.claim.suvmax_reported is not None) for t in truths if t.claim.outcome is Outcome.LESION)


class TestDraw:
    def test_equal_seeds_draw_equal_exams(self, exams):
        again = draw(0)
        assert np.array_equal(again.suv, exams[0].suv)
        assert again.findings == exams[0].findings
        assert not np.array_equal(exams[0].suv.shape, exams[1].suv.shape) or not np.array_equal(
            exams[0].suv, exams[1].suv
        )

    def test_every_tracer_is_drawn(self):
        assert {draw(seed).acquisition.tracer for seed in range(10)} == set(TRACERS)
