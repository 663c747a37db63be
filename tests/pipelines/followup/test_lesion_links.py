"""Links: which lesions of two exams are one, and when that is not said."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.followup.lesion_links import LinkInputs, LinkLesion, lesion_links, link
from pipelines.followup.registration import Registration
from pipelines.settings import FollowupSettings
from pipelines.tables import schemas

SETTINGS = FollowupSettings()
NO_BLOCKS = np.empty((0, 3))
SHIFT = (0.0, 0.0, 100.0)


def registration() -> Registration:
    """The exam lies 100 mm above the prior one."""
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    return Registration(matrix, 0.9, 2.0, NO_BLOCKS, NO_BLOCKS)


def lesion(finding_id: str, at: tuple[float, float, float], radius_mm: float = 8.0, **row: Any) -> LinkLesion:
    grid = np.stack(np.meshgrid(*[np.arange(-radius_mm, radius_mm + 1, 4.0)] * 3), -1).reshape(-1, 3)
    points = grid[np.linalg.norm(grid, axis=1) <= radius_mm] + at
    made = {"finding_id": finding_id, "organ": "lung", "laterality": None, "comparison": "none"}
    made |= {"suvmax": 8.0, "suvpeak": 6.0, "mtv_ml": 4 / 3 * np.pi * radius_mm**3 / 1000, "tlg": 10.0}
    made |= {f"peak_{axis}_mm": x for axis, x in zip("xyz", at, strict=True)}
    return LinkLesion(({**made, **row},), points)


def above(at: tuple[float, float, float], by: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> tuple[float, ...]:
    return tuple(float(a + s + b) for a, s, b in zip(at, SHIFT, by, strict=True))


A, B = (40.0, 0.0, 0.0), (-60.0, 10.0, 50.0)


def states(prior: list[LinkLesion], now: list[LinkLesion]) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    return sorted((str(one.state), one.prior, one.now) for one in link(prior, now, registration(), SETTINGS))


class TestLink:
    def test_lesions_at_their_place_persist(self) -> None:
        found = states(
            [lesion("p:a", A), lesion("p:b", B)], [lesion("n:b", above(B)), lesion("n:a", above(A, (9, 0, 0)))]
        )
        assert found == [("persisting", (0,), (1,)), ("persisting", (1,), (0,))]

    def test_one_elsewhere_is_new_and_one_without_is_gone(self) -> None:
        found = states([lesion("p:a", A)], [lesion("n:b", above(B))])
        assert found == [("new", (), (0,)), ("resolved, or not described", (0,), ())]

    def test_one_on_the_other_side_is_another(self) -> None:
        near_midline = (4.0, 0.0, 0.0)
        found = states(
            [lesion("p", near_midline, laterality="right")],
            [lesion("n", above(near_midline, (-8, 0, 0)), laterality="left")],
        )
        assert [state for state, _, _ in found] == ["new", "resolved, or not described"]

    def test_two_that_are_as_near_are_not_linked(self) -> None:
        now = [lesion("n:1", above(A, (12, 0, 0)), 4.0), lesion("n:2", above(A, (-12, 0, 0)), 4.0)]
        links = link([lesion("p", A, 4.0)], now, registration(), SETTINGS)
        said = {one.explanation for one in links if one.state == "not linked"}
        assert len(said) == 1
        assert "as near" in said.pop()
        assert not [one for one in links if one.state == "persisting"]

    def test_one_that_may_be_the_neighbour_of_what_is_gone_is_not_linked(self) -> None:
        prior = [lesion("p:1", A, 6.0), lesion("p:2", (40.0, 0.0, 20.0), 6.0)]
        links = link(prior, [lesion("n:2", above((40.0, 0.0, 36.0)), 6.0)], registration(), SETTINGS)
        assert not [one for one in links if one.state == "persisting"]
        assert any("beside it" in (one.explanation or "") for one in links)

    def test_neighbours_that_moved_together_keep_their_order(self) -> None:
        places = [(0.0, 0.0, 30.0 * n) for n in range(4)]
        prior = [lesion(f"p:{n}", at) for n, at in enumerate(places)]
        now = [lesion(f"n:{n}", above(at, (0, 0, 8))) for n, at in enumerate(places)]
        assert states(prior, now) == [("persisting", (n,), (n,)) for n in range(4)]

    def test_parts_of_a_large_one_have_split_from_it(self) -> None:
        parts = [lesion("n:1", above(A, (0, 0, -12)), 8.0), lesion("n:2", above(A, (0, 0, 18)), 6.0)]
        assert states([lesion("p", A, 24.0)], parts) == [("split", (0,), (0, 1))]

    def test_lesions_in_one_that_grew_have_merged(self) -> None:
        parts = [lesion("p:1", (40.0, 0.0, -12.0), 8.0), lesion("p:2", (40.0, 0.0, 18.0), 6.0)]
        assert states(parts, [lesion("n", above(A), 24.0)]) == [("merged", (0, 1), (0,))]

    def test_without_lesions_there_is_no_link(self) -> None:
        assert states([], []) == []
        assert states([lesion("p", A)], []) == [("resolved, or not described", (0,), ())]


def pair(exam_id: str, prior: str | None) -> dict[str, Any]:
    row = {"exam_id": exam_id, "patient_id": "P", "row_key": exam_id, "prior_exam_id": prior}
    if prior is None:
        return row | {"reason": "first exam"}
    return row | {"days": 90, "matrix": "1 0 0 0 0 1 0 0 0 0 1 100", "correlation": 0.9, "residual_mm": 2.0}


def inputs(lesions: dict[str, list[LinkLesion]], is_scanned: bool = True) -> LinkInputs:
    before = dict(zip(sorted(lesions)[1:], sorted(lesions), strict=False))
    pairs = schemas.frame("exam_pairs", [pair(exam, before.get(exam)) for exam in sorted(lesions)])
    return LinkInputs(pairs, lambda exam: lesions[exam], lambda _, at: np.full(len(at), is_scanned), SETTINGS)


class TestLesionLinks:
    def test_changes_are_told_in_percent_and_the_track_goes_on(self) -> None:
        exams = {
            "E1": [lesion("E1:a", A, suvmax=8.0, suvpeak=None)],
            "E2": [lesion("E2:a", above(A), suvmax=6.0)],
            "E3": [lesion("E3:a", above(above(A)), suvmax=9.0)],
        }
        good, bad = schemas.validate("lesion_links", lesion_links(inputs(exams)))
        assert bad.height == 0
        rows = (
            good.sort("exam_id").select("finding_id", "prior_finding_id", "tracked_as", "suvmax_change_percent").rows()
        )
        assert rows == [("E2:a", "E1:a", "E1:a", pytest.approx(-25.0)), ("E3:a", "E2:a", "E1:a", pytest.approx(50.0))]
        assert good.sort("exam_id")["suvpeak_change_percent"].to_list() == [None, pytest.approx(0.0)]

    def test_findings_of_one_lesion_are_linked_alike(self) -> None:
        twice = lesion("E2:a", above(A))
        twice = LinkLesion((*twice.rows, {**twice.row, "finding_id": "E2:b"}), twice.points_mm)
        frame = lesion_links(inputs({"E1": [lesion("E1:a", A)], "E2": [twice]}))
        assert frame.select("finding_id", "tracked_as").rows() == [("E2:a", "E1:a"), ("E2:b", "E1:a")]

    def test_what_was_not_scanned_is_not_linked(self) -> None:
        frame = lesion_links(inputs({"E1": [lesion("E1:a", A)], "E2": [lesion("E2:b", above(B))]}, is_scanned=False))
        assert frame["state"].unique().to_list() == ["not linked"]
        assert sorted(frame["explanation"]) == ["exam E1 was not scanned there", "exam E2 was not scanned there"]

    def test_an_exam_without_a_registration_has_none(self) -> None:
        assert lesion_links(inputs({"E1": [lesion("E1:a", A)]})).equals(
            pl.DataFrame(schema=schemas.types_of("lesion_links"))
        )
