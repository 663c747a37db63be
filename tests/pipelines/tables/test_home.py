from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tables.home import Home, exam_of, folder_name


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

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    def test_says_which_exam_it_is_of(self, exam_id):
        name = folder_name(exam_id)
        assert "/" not in name
        assert exam_of(name) == exam_id
