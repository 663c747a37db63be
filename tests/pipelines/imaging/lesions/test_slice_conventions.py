"""Slice conventions, told apart by how many findings match."""

import numpy as np
import pytest

from pipelines.imaging.lesions.find_lesions import LesionRequest, find_lesions
from pipelines.imaging.lesions.slice_conventions import CONVENTIONS, ConventionExam, score_conventions
from pipelines.imaging.volume import SliceGrid, Volume, pet_slice_of, slices_of
from pipelines.settings import LesionSettings, Origin, SliceConvention, SliceGridKind
from pipelines.tables.outcomes import Outcome

CENTRES = [(30.0, 0.0, 24.0), (-30.0, 6.0, -9.0), (-24.0, 0.0, -36.0)]
CT = SliceGrid(80, -63.0, 1.5)


@pytest.fixture
def volume(spheres):
    return spheres([(c, 9.0, s) for c, s in zip(CENTRES, (9.0, 6.0, 12.0))])


def requests_by(convention: SliceConvention, volume) -> list[LesionRequest]:
    requests = []
    for n, centre in enumerate(CENTRES):
        i, j, k = np.rint(volume.to_ijk(centre)).astype(int)
        box = volume.array[i - 3 : i + 4, j - 3 : j + 4, k - 3 : k + 4]
        at = int(np.unravel_index(box.argmax(), box.shape)[2]) + k - 3
        slice_ = pet_slice_of(convention, at, slices_of(volume), CT)
        requests.append(LesionRequest(f"E:{n}", "", slice_, round(float(box.max()), 1)))
    return requests


class TestScoreConventions:
    @pytest.mark.parametrize("convention", [c for c in CONVENTIONS if c.grid is SliceGridKind.PET])
    def test_finds_the_convention_that_the_reports_follow(self, volume, convention):
        scores = score_conventions([ConventionExam(volume, requests_by(convention, volume), CT)])
        assert scores[0].convention == convention
        assert scores[0].peak_rate == 1.0
        assert all(s.peak_rate < 1.0 for s in scores[1:])

    def test_finds_that_the_slices_of_the_ct_are_counted(self, volume):
        convention = SliceConvention(grid=SliceGridKind.CT)
        scores = score_conventions([ConventionExam(volume, requests_by(convention, volume), CT)])
        assert scores[0].convention.grid is SliceGridKind.CT
        assert scores[0].convention.origin is Origin.HEAD

    def test_without_a_ct_those_of_the_ct_have_no_rate(self, volume):
        scores = score_conventions([ConventionExam(volume, requests_by(SliceConvention(), volume))])
        assert {s.rate for s in scores if s.convention.grid is SliceGridKind.CT} == {None}


class TestFindLesions:
    def test_follows_the_convention_of_the_settings(self, volume):
        convention = SliceConvention(origin=Origin.FEET, base=0, grid=SliceGridKind.CT)
        requests = requests_by(convention, volume)
        found = find_lesions(volume, requests, LesionSettings(convention=convention), CT)
        assert {f.outcome for f in found} == {Outcome.LESION}

    def test_counts_the_ct_where_the_pet_lies_oblique(self, volume):
        turn = np.radians(10)
        oblique = np.eye(4)
        oblique[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        pet = Volume(volume.array, oblique @ volume.affine)
        peak = np.unravel_index(int(pet.array.argmax()), pet.shape)
        slice_ = CT.n_slices - round((pet.to_ras_mm(peak)[2] - CT.first_mm) / CT.step_mm)
        asked = LesionRequest("E:1", "", slice_, round(float(pet.array.max()), 1))
        settings = LesionSettings(convention=SliceConvention(grid=SliceGridKind.CT))
        assert find_lesions(pet, [asked], settings, CT)[0].outcome is Outcome.LESION

    def test_says_that_there_is_no_ct_to_count_in(self, volume):
        convention = SliceConvention(grid=SliceGridKind.CT)
        found = find_lesions(volume, requests_by(convention, volume), LesionSettings(convention=convention))
        assert {f.outcome for f in found} == {Outcome.SLICE_OUTSIDE}
        assert "has none" in found[0].explanation
