"""Reading a cohort folder and noticing what changed in it."""

import os
import unicodedata
from pathlib import Path

import pytest

from pipelines.cohort.manifest import (
    CohortError,
    cohort_state,
    observe_cohort,
    read_manifest,
    read_whole_manifest,
    scan_cohort,
)
from pipelines.tables.shards import shard_of


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "cohort"
    for exam in ("E1", "E2"):
        (folder / "exams" / exam).mkdir(parents=True)
        (folder / "exams" / exam / "SUV.nii.gz").write_bytes(exam.encode())
    write_reports(folder, {"E1": ("P1", "One."), "E2": ("P2", "Two.")})
    return folder


def write_reports(folder: Path, reports: dict[str, tuple[str, str]]) -> None:
    rows = "".join(f"{exam},{patient},{text}\n" for exam, (patient, text) in reports.items())
    (folder / "reports.csv").write_text("exam_id,patient_id,findings\n" + rows)


class TestScanCohort:
    def test_pairs_folders_with_reports(self, cohort: Path) -> None:
        entries = scan_cohort(cohort).entries
        assert [(e.exam_id, e.patient_id, e.has_report, e.folder is not None) for e in entries] == [
            ("E1", "P1", True, True),
            ("E2", "P2", True, True),
        ]

    def test_keeps_a_report_without_a_folder(self, cohort: Path) -> None:
        write_reports(cohort, {"E1": ("P1", "One."), "E2": ("P2", "Two."), "E3": ("P3", "Three.")})
        assert scan_cohort(cohort).entries[2].folder is None

    def test_keeps_a_folder_without_a_report(self, cohort: Path) -> None:
        write_reports(cohort, {"E1": ("P1", "One.")})
        assert [e.has_report for e in scan_cohort(cohort).entries] == [True, False]

    def test_refuses_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(CohortError, match="expected a cohort folder"):
            scan_cohort(tmp_path / "nowhere")

    def test_refuses_a_folder_without_reports(self, tmp_path: Path) -> None:
        with pytest.raises(CohortError, match=r"expected reports\.csv"):
            scan_cohort(tmp_path)

    def test_refuses_a_table_of_reports_without_its_columns(self, tmp_path: Path) -> None:
        (tmp_path / "reports.csv").write_text("a,b\n1,2\n")
        with pytest.raises(CohortError, match="findings"):
            scan_cohort(tmp_path)

    def test_names_that_are_not_utf_8_links_to_themselves_and_pipes_end_nothing(self, cohort: Path) -> None:
        (cohort / "exams" / "E1" / "loop").symlink_to("loop")
        os.mkfifo(cohort / "exams" / "E1" / "pipe")
        (cohort / "exams" / "E2" / "back").symlink_to("..")
        (cohort / "exams" / "E2" / os.fsdecode(b"M\xfcller.dcm")).write_bytes(b"x")
        os.rename(cohort / "exams" / "E2", cohort / "exams" / os.fsdecode(b"Gr\xf6\xdfe"))
        write_reports(cohort, {"E1": ("P1", "One."), "Größe": ("P2", "Two.")})
        assert [(e.exam_id, e.folder is not None) for e in scan_cohort(cohort).entries] == [
            ("E1", True),
            ("Größe", True),
        ]

    def test_composed_and_decomposed_names_are_one(self, cohort: Path) -> None:
        os.rename(cohort / "exams" / "E2", cohort / "exams" / unicodedata.normalize("NFD", "Größe"))
        write_reports(cohort, {"E1": ("P1", "One."), "Größe": ("P2", "Two.")})
        assert [e.folder is not None for e in scan_cohort(cohort).entries] == [True, True]

    def test_sees_a_change_in_a_linked_folder(self, cohort: Path, tmp_path: Path) -> None:
        (tmp_path / "series").mkdir()
        (cohort / "exams" / "E1" / "series").symlink_to(tmp_path / "series")
        before = scan_cohort(cohort)
        (tmp_path / "series" / "1.dcm").write_bytes(b"x")
        assert scan_cohort(cohort).entries[0].image_fingerprint != before.entries[0].image_fingerprint

    def test_asks_for_what_is_nearly_named_so(self, cohort: Path) -> None:
        write_reports(cohort, {"e1": ("P1", "One."), "E2": ("P2", "Two.")})
        near = {e.exam_id: e.near for e in scan_cohort(cohort).entries}
        assert near == {"e1": "did you mean the folder 'E1'", "E1": "did you mean the report 'e1'", "E2": None}

    def test_gives_equal_fingerprints_to_files_that_were_only_touched(self, cohort: Path) -> None:
        before = scan_cohort(cohort)
        os.utime(cohort / "exams" / "E1" / "SUV.nii.gz", (1, 1))
        assert scan_cohort(cohort, before.fingerprints).entries == before.entries

    def test_reads_no_file_whose_state_is_known(self, cohort: Path) -> None:
        before = scan_cohort(cohort)
        path = cohort / "exams" / "E1" / "SUV.nii.gz"
        state = path.stat()
        # Same size and times, other bytes: only reading the file could tell, and nothing says to read it.
        path.write_bytes(b"XX")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert scan_cohort(cohort, before.fingerprints).entries == before.entries

    def test_sees_other_bytes_of_the_same_size(self, cohort: Path) -> None:
        before = scan_cohort(cohort)
        (cohort / "exams" / "E1" / "SUV.nii.gz").write_bytes(b"XX")
        after = scan_cohort(cohort, before.fingerprints)
        changed = [a.exam_id for a, b in zip(after.entries, before.entries, strict=True) if a != b]
        assert changed == ["E1"]


class TestObserveCohort:
    def test_changes_the_version_of_the_shard_of_an_edited_report_alone(self, cohort: Path, tmp_path: Path) -> None:
        before = observe_cohort(cohort, tmp_path / "manifest")
        write_reports(cohort, {"E1": ("P1", "One, edited."), "E2": ("P2", "Two.")})
        after = observe_cohort(cohort, tmp_path / "manifest")
        assert [s for s in before if before[s] != after[s]] == [shard_of("P1")]

    def test_writes_the_entries_that_a_stage_reads(self, cohort: Path, tmp_path: Path) -> None:
        versions = observe_cohort(cohort, tmp_path / "manifest")
        version, entries = read_manifest(tmp_path / "manifest", shard_of("P1"))
        assert version == versions[shard_of("P1")]
        assert [e.report for e in entries if e.exam_id == "E1"] == ["One."]

    def test_says_that_a_cohort_was_never_observed(self, tmp_path: Path) -> None:
        with pytest.raises(CohortError, match="observe exam_manifest first"):
            read_whole_manifest(tmp_path)


class TestCohortState:
    def test_changes_when_a_file_comes(self, cohort: Path) -> None:
        before = cohort_state(cohort)
        (cohort / "exams" / "E1" / "CT.nii.gz").write_bytes(b"ct")
        assert cohort_state(cohort) != before
