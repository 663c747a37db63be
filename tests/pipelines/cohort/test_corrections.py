"""corrections.csv: reading its lines, and the reasons of those that can not be applied."""

from pathlib import Path

import pytest

from pipelines.cohort.corrections import (
    CorrectionsError,
    correction_rows,
    corrections_version,
    observe_corrections,
    read_corrections,
    read_observed,
)
from pipelines.cohort.privacy.deidentification import Deidentifier, Pseudonyms
from pipelines.settings import PrivacySettings
from pipelines.tables.shards import shard_of

HEADER = "finding,field,value,who,when\n"


class TestReadCorrections:
    def test_no_file_is_no_correction(self, tmp_path: Path) -> None:
        assert read_corrections(tmp_path / "c.csv") == []

    def test_takes_what_a_spreadsheet_saves(self, tmp_path: Path) -> None:
        (tmp_path / "c.csv").write_bytes(
            b"\xef\xbb\xbfFinding;Field;Value;Who;When\r\nE1:0000abcd;Organ;liver;Dr A;2026-01-02\r\n\r\n"
        )
        (one,) = read_corrections(tmp_path / "c.csv")
        assert (one.field, one.value, one.problem) == ("organ", "liver", None)

    @pytest.mark.parametrize("content", ["finding,value,who,when\n", "", "\n"])
    def test_refuses_a_file_without_a_column(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "c.csv").write_text(content)
        with pytest.raises(CorrectionsError, match="expected the columns"):
            read_corrections(tmp_path / "c.csv")

    def test_refuses_a_quote_that_holds_the_lines_below(self, tmp_path: Path) -> None:
        text = 'E1:0000abcd,text,"open,Dr A,2026-01-02\nE2:0000abcd,text,b,Dr A,2026-01-02\n'
        (tmp_path / "c.csv").write_text(HEADER + text)
        with pytest.raises(CorrectionsError, match="row 2"):
            read_corrections(tmp_path / "c.csv")

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("E1:0000abcd,colour,red,Dr A,2026-01-02", "unknown field 'colour'"),
            ("E1:0000abcd,slice,1.5,Dr A,2026-01-02", "expected a whole number"),
            ("E1:0000abcd,slice,100000000000000000000,Dr A,2026-01-02", "at most 999999"),
            ("E1:0000abcd,slice,1e20,Dr A,2026-01-02", "expected a whole number"),
            ("E1:0000abcd,suvmax_reported,1e300,Dr A,2026-01-02", "at most 100000"),
            ("E1:0000abcd,suvmax_reported,nan,Dr A,2026-01-02", "expected a number of at least 0"),
            ("E1:0000abcd,outcome,maybe,Dr A,2026-01-02", "expected accept or reject"),
            ("E1:0000abcd,laterality,lft,Dr A,2026-01-02", "expected one of left"),
            ("E1:0000abcd,region,moon,Dr A,2026-01-02", "expected one of"),
            ("E1:0000abcd,organ,liver,,2026-01-02", "expected who"),
            ("E1:0000abcd,organ,liver,Dr A,yesterday", "expected when"),
            ("E1:0000abcd,text,a, b,Dr A,2026-01-02", "1 more"),
            ("E1,organ,liver,Dr A,2026-01-02", "expected a finding"),
            (":0000abcd,organ,liver,Dr A,2026-01-02", "expected a finding"),
            ("E1:,organ,liver,Dr A,2026-01-02", "expected a finding"),
            ("E1:0000abcd,organ", "expected who"),
        ],
    )
    def test_names_a_line_that_can_not_be_taken(self, tmp_path: Path, line: str, why: str) -> None:
        (tmp_path / "c.csv").write_text(f"{HEADER}E1:0000abcd,organ,liver,Dr A,2026-01-02\n{line}\n")
        good, bad = read_corrections(tmp_path / "c.csv")
        assert good.problem is None
        assert bad.problem is not None
        assert "line 3: " in bad.problem
        assert why in bad.problem


class TestObserveCorrections:
    def test_concerns_the_shard_of_the_patient_alone(self, tmp_path: Path) -> None:
        before = observe_corrections(tmp_path, tmp_path / "manifest", {"E1": "P1"})
        (tmp_path / "corrections.csv").write_text(HEADER + "E1:0000abcd,organ,liver,Dr A,2026-01-02\n")
        after = observe_corrections(tmp_path, tmp_path / "manifest", {"E1": "P1"})
        assert [shard for shard in before if before[shard] != after[shard]] == [shard_of("P1")]
        assert len(read_observed(tmp_path / "manifest", shard_of("P1"))) == 1

    def test_a_hashed_cohort_keeps_no_plain_id_and_no_word_of_a_wrong_line(self, tmp_path: Path) -> None:
        (tmp_path / "corrections.csv").write_text(
            HEADER
            + "PLAIN-77:0000abcd,organ,liver,Dr A,2026-01-02\n"
            + "PLAIN-77:Zebrowski,Quentin,Robichaud,Dr A,Lenoir\n"
        )
        folder = tmp_path / "manifest"
        pseudonyms = Pseudonyms(b"0123456789abcdef")
        exam = pseudonyms.exam("PLAIN-77")
        hashing = Deidentifier(PrivacySettings(hash_ids=True), pseudonyms, tmp_path / "links")
        observe_corrections(tmp_path, folder, {exam: "P1"}, hashing)
        first, second = read_observed(folder, shard_of("P1"))
        assert (first.finding_id, first.value, first.problem) == (f"{exam}:0000abcd", "liver", None)
        assert second.problem is not None
        written = "".join(path.read_text() for path in folder.rglob("*.json")).lower()
        assert [word for word in ("plain", "zebrowski", "quentin", "robichaud", "lenoir") if word in written] == []

    @pytest.mark.parametrize("field", ["organ", "subsite"])
    def test_where_reports_are_masked_a_typed_place_keeps_its_words_alone(self, tmp_path: Path, field: str) -> None:
        said = f"E1:0000abcd,{field},%s,Dr A,2026-01-02\n"
        masking = Deidentifier(PrivacySettings(mask_reports=True), secret=b"drawn", place_words=frozenset({"gizzard"}))
        kept = []
        for typed in ("left Gizzard", "Robichaud"):
            (tmp_path / "corrections.csv").write_text(HEADER + said % typed)
            observe_corrections(tmp_path, tmp_path / "manifest", {"E1": "P1"}, masking)
            kept += [one.value for one in read_observed(tmp_path / "manifest", shard_of("P1"))]
        assert kept == ["left Gizzard", "Xxxxxxxxx"]

    def test_order_of_the_lines_does_not_count(self, tmp_path: Path) -> None:
        lines = ["E1:0000abcd,organ,liver,Dr A,2026-01-02\n", "E1:0000abcd,region,chest,Dr A,2026-01-02\n"]
        versions = []
        for order in (lines, lines[::-1]):
            (tmp_path / "c.csv").write_text(HEADER + "".join(order))
            versions.append(corrections_version(read_corrections(tmp_path / "c.csv")))
        assert versions[0] == versions[1]


class TestCorrectionRows:
    def test_loses_no_line(self, tmp_path: Path) -> None:
        lines = "E1:0000abcd,organ,liver,Dr A,2026-01-02\n" * 2 + ",,,,\nE9:1,organ,liver,Dr A,2026-01-02\nx\n"
        (tmp_path / "c.csv").write_text(HEADER + lines)
        rows = correction_rows(read_corrections(tmp_path / "c.csv"), ["E1:0000abcd"], {"E1": "P1"})
        assert [row["status"] for row in rows] == ["superseded", "applied", "unknown finding", "not applied"]
        assert len({row["correction_id"] for row in rows}) == 4
