"""Ids that nearly match."""

from pathlib import Path

import pytest

from pipelines.cohort.near_ids import archives_beside, folders_too_deep, near_names


class TestNearNames:
    @pytest.mark.parametrize(
        ("name", "other"),
        [
            ("007", "7"),
            ("E1", "e1"),
            ("4711.0", "4711"),
            ("exam 1", "exam\u00a01"),
            ("PX-0003", "px_3"),
            ("Mu\u0308ller", "m\u00fcller"),
            ("\uff11\uff12", "12"),
        ],
    )
    def test_finds_what_differs_in_form_alone(self, name: str, other: str) -> None:
        assert near_names([name], [other, "another"]) == {name: (other,)}

    @pytest.mark.parametrize(("name", "other"), [("E1", "E10"), ("70", "7"), ("E1.5", "E1"), ("---", "...")])
    def test_leaves_other_names_alone(self, name: str, other: str) -> None:
        assert near_names([name], [other]) == {}


class TestFoldersTooDeep:
    def test_finds_exams_below_their_patients_and_beside_exams(self, tmp_path: Path) -> None:
        for name in ("exams/P1/E1", "E2", "exams/E3/series"):
            (tmp_path / name).mkdir(parents=True)
        others = {"P1": tmp_path / "exams" / "P1"}
        assert folders_too_deep(tmp_path, {"E1", "E2", "E4"}, others, str) == {
            "E1": ("exams/P1", "E1"),
            "E2": ("", "E2"),
        }


def test_archives_that_lie_in_place_of_a_folder_are_found(tmp_path):
    for name in ("E1.zip", "E2.tar.gz", "E3.txt", "E4.nii.gz", "E5.zip"):
        (tmp_path / name).touch()
    found = archives_beside(tmp_path, {"E1", "E2", "E3", "E4"}, str)
    assert found == {"E1": "E1.zip", "E2": "E2.tar.gz", "E4": "E4.nii.gz"}
    assert archives_beside(tmp_path / "none", {"E1"}, str) == {}
