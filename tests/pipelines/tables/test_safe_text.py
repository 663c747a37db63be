"""What messages show of names of files, of values of headers and of errors of other libraries."""

import csv
import errno
import importlib
import json
import os
import re
import sqlite3
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tables.safe_text import error_reason, file_reference, is_technical, technical_text


class TestIsTechnical:
    @pytest.mark.parametrize(
        "name",
        [
            "SUV.nii.gz",
            "CTres.nii",
            "IM000001",
            "1-001.dcm",
            "slice_012.dcm",
            "image (3).dcm",
            "DICOMDIR",
            "IM-0001-0012",
        ],
    )
    def test_names_that_scanners_and_converters_give_are(self, name: str) -> None:
        assert is_technical(name)

    @pytest.mark.parametrize(
        "name",
        [
            "ZEBROWSKI_QUENTIN_MRN55512345.dcm",
            "PET_Miller.dcm",
            "MillerPET.nii.gz",
            "12-03-1975.dcm",
            "1.2.840.113619.2.55.dcm",
            "55512345",
            "555-1234",
            "10.0.0.1",
            "M\udcfcller.dcm",
            "PET\n1",
        ],
    )
    def test_names_that_may_name_somebody_are_not(self, name: str) -> None:
        assert not is_technical(name)


class TestTechnicalText:
    def test_keeps_what_describes_the_series(self) -> None:
        assert technical_text("PET WB 3D MAC (AC) 4.0mm") == "PET WB 3D MAC (AC) 4.0mm"

    def test_removes_each_run_of_other_words(self) -> None:
        assert technical_text("WB ZEBROWSKI_QUENTIN 55512345 AC") == "WB [removed] AC"

    def test_removes_numbers_in_a_row(self) -> None:
        assert technical_text("608 555 0199 on 12 03 1975") == "[removed] on [removed]"

    @given(st.text(alphabet=st.characters(min_codepoint=0x41, max_codepoint=0x17F, categories=["L"]), min_size=2))
    def test_is_the_same_when_done_again(self, text: str) -> None:
        once = technical_text(text)
        assert technical_text(once) == once


class TestFileReference:
    @pytest.fixture
    @staticmethod
    def folder(tmp_path: Path) -> Path:
        for name in ("Miller/1.dcm", "Miller/Jane_2.dcm", "PET/3.dcm"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    def test_shows_a_technical_path(self, folder: Path) -> None:
        assert file_reference(folder / "PET" / "3.dcm", folder) == "PET/3.dcm"

    def test_gives_the_position_of_any_other(self, folder: Path) -> None:
        assert file_reference(folder / "Miller" / "Jane_2.dcm", folder) == "file 2 of 3 (a .dcm file, sorted by name)"

    def test_names_a_folder_by_its_first_file(self, folder: Path) -> None:
        assert file_reference(folder / "Miller", folder) == "the folder of file 1 of 3 (sorted by name)"

    def test_counts_links_pipes_and_names_that_are_not_utf_8(self, folder: Path) -> None:
        os.mkfifo(folder / "Aaron")
        os.symlink("loop", folder / "loop")
        os.symlink(folder / "PET", folder / "Adam")
        (folder / os.fsdecode(b"M\xfcller.dcm")).touch()
        assert file_reference(folder / "Aaron", folder) == "file 1 of 7 (sorted by name)"
        assert file_reference(folder / "Adam" / "3.dcm", folder).startswith("a file below link 2 of 7")
        assert file_reference(folder / os.fsdecode(b"M\xfcller.dcm"), folder).startswith("file 5 of 7")

    def test_of_a_file_that_is_gone_or_elsewhere_shows_nothing(self, folder: Path) -> None:
        assert "Jim" not in file_reference(folder / "Jim.dcm", folder)
        assert file_reference(Path("/etc/Jim"), folder) == "a file elsewhere"


class TestErrorReason:
    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (OSError(errno.ENOSPC, "Miller", "/data/Miller"), os.strerror(errno.ENOSPC)),
            (zlib.error("Miller"), "damaged compressed data"),
            (ValueError("Miller"), "ValueError"),
            (OSError("Miller"), "OSError"),
        ],
    )
    def test_is_none_of_the_errors_words(self, error: Exception, reason: str) -> None:
        assert error_reason(error) == reason

    @pytest.mark.parametrize(
        ("fails", "reason"),
        [
            (lambda: json.loads('{"Miller": }'), "no JSON at line 1, column 12"),
            (lambda: b"Miller \xff".decode(), "no text of the stated encoding at byte 7"),
            (lambda: "\ud800 Miller".encode(), "no text of the stated encoding at byte 0"),
            (lambda: tomllib.loads("name =\nMiller"), "no TOML at line 1, column 7"),
            (lambda: tomllib.loads('name = ["Miller"'), "no TOML at its end"),
            (lambda: re.compile("(Miller"), "no regular expression at character 1"),
            (
                lambda: list(csv.reader(['"Miller'], strict=True)),
                "quotes that are not closed, or a line too long",
            ),
            (lambda: sqlite3.connect("/nowhere/Miller"), "it cannot be opened"),
            (lambda: importlib.import_module("miller_py"), "no module miller_py"),
        ],
    )
    def test_gives_the_position_in_texts(self, fails: Callable[[], object], reason: str) -> None:
        with pytest.raises((ValueError, re.error, csv.Error, sqlite3.Error, ImportError)) as caught:
            fails()
        assert error_reason(caught.value) == reason
