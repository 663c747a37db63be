from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tables.home import Home, HomeError, folder_name


class TestFolderName:
    @pytest.mark.parametrize("exam_id", ["exam-0001", "PETCT_0b57 (2)", "Müller.3", "1.2.840.113619"])
    def test_is_the_id_where_that_is_a_file_name(self, exam_id):
        assert folder_name(exam_id) == exam_id

    @pytest.mark.parametrize("exam_id", ["..", ".", "/etc", "../../up", "a/b", "a\\b", "50%", "x:y", "line\nbreak"])
    def test_never_leads_out_of_the_folder_above(self, exam_id):
        home = Home(Path("/home"))
        for parent, path in ((home.volumes, home.volume_folder(exam_id)), (home.masks, home.mask_folder(exam_id))):
            assert path.parent == parent
            assert path.name not in ("", ".", "..")

    @given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
    def test_tells_exams_apart(self, exam_ids):
        first, second = map(folder_name, exam_ids)
        assert "/" not in first
        assert first != second

    @given(st.text(min_size=150))
    def test_is_never_longer_than_a_file_system_takes(self, exam_id):
        assert len(folder_name(exam_id).encode()) <= 200


class TestCheckWritable:
    def test_a_folder_or_one_to_be_made_is_fine(self, tmp_path: Path) -> None:
        Home(tmp_path).check_writable()
        Home(tmp_path / "new" / "home").check_writable()

    @pytest.mark.parametrize("below", ["", "home"])
    def test_a_file_is_named(self, tmp_path: Path, below: str) -> None:
        (tmp_path / "reports.csv").touch()
        with pytest.raises(HomeError, match=r"reports\.csv is a file: name another home"):
            Home(tmp_path / "reports.csv" / below).check_writable()

    def test_a_link_that_leads_nowhere_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "disk").symlink_to(tmp_path / "unmounted")
        with pytest.raises(HomeError, match=r"disk is a link that leads nowhere"):
            Home(tmp_path / "disk" / "home").check_writable()
