"""Tables as spreadsheets and scripts save them."""

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cohort.table_files import TableFileError, read_table_file, without_lone_surrogates

ROWS = [("exam_id", "patient_id", "findings"), ("E0001", "P1", "Node, SUV 8.1."), ("00042", "P2", "Läsion größer.")]


def cells_of(path: Path) -> list[tuple[str, ...]]:
    table = read_table_file(path)
    return [table.header, *(row.cells for row in table.rows)]


def csv_of(delimiter: str = ",", end: str = "\r\n") -> str:
    return "".join(delimiter.join(f'"{cell}"' for cell in row) + end for row in ROWS)


def sheet(rows: list[list[str]]) -> bytes:
    """A workbook with one sheet; cells that are numbers are stored as such."""

    def cell(value: str) -> str:
        if value.replace(".", "", 1).isdigit():
            return f"<c><v>{value}</v></c>"
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'

    body = "".join("<row>" + "".join(map(cell, row)) + "</row>" for row in rows)
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml" '
        'ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{rel}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{rel}"><sheets><sheet name="a" sheetId="1" '
        'r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{rel}/worksheet" Target="worksheets/a.xml"/></Relationships>',
        "xl/worksheets/a.xml": f'<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>',
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


class TestReadTableFile:
    @pytest.mark.parametrize(
        "data",
        [
            csv_of().encode(),
            csv_of(";").encode("utf-8-sig"),
            ("sep=;\r\n" + csv_of(";")).encode("utf-8-sig"),
            ("sep=|\n" + csv_of("|", "\n")).encode(),
            csv_of("\t").encode("utf-16"),
            csv_of().encode("utf-16-le"),
            csv_of(end="\n").encode("utf-16-be"),
            csv_of(end="\r").encode(),
            csv_of().encode("cp1252"),
            ("\r\n" + csv_of()).encode(),
            ("# export of 2021\n" + csv_of()).encode(),
            csv_of().removesuffix("\r\n").encode(),
        ],
    )
    def test_reads_what_programs_save(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "t.csv").write_bytes(data)
        assert cells_of(tmp_path / "t.csv") == ROWS

    @pytest.mark.parametrize("name", ["t.xlsx", "t.csv"])
    def test_reads_a_workbook_by_its_content(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(sheet([["exam_id", "findings"], ["4711", "8.5"]]))
        assert cells_of(tmp_path / name) == [("exam_id", "findings"), ("4711", "8.5")]

    def test_refuses_a_workbook_that_unpacks_without_bound(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipelines.cohort.table_files.MOST_UNPACKED_BYTES", 2 << 20)
        (tmp_path / "t.xlsx").write_bytes(sheet([["exam_id", "findings"], ["E1", "a" * (3 << 20)]]))
        with pytest.raises(TableFileError, match="2 MiB"):
            read_table_file(tmp_path / "t.xlsx")

    @pytest.mark.parametrize(
        "text",
        [
            'id,text\nE1,"open to the end\nE2,b\nE3,c\n',
            'id,text\nE1,a\nE2,"open\nE3,c\nE4,"d"\n',
            'id,text\nE1,a\nE2,"open\nE3,c\nE4,ends with 5"\nE5,e\n',
            'id,text\nE1,a\nE2,"cut sho',
            'id,who,text\n1001,P1,"open\n1002,P2,b\n1003,P3,ends with 5"\n1004,P4,d\n',
            'id,who,text\n1001,17,"open\n1002,18,b\n1003,19,ends with 5"\n1004,20,d\n',
            "id,a,text\nE1,1,a\nE2,1",
        ],
    )
    def test_refuses_a_file_whose_rows_cannot_be_told_apart(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(TableFileError, match=r"row [23]"):
            cells_of(tmp_path / "t.csv")

    def test_text_of_several_lines_is_one_cell(self, tmp_path: Path) -> None:
        text = "Liver, spleen, normal.\n1, 2, 3\nSUV 5,\nE2\n"
        (tmp_path / "t.csv").write_text(f'id,date,text\nE1,1,"{text}"\nE2,2,b\n')
        assert cells_of(tmp_path / "t.csv")[1] == ("E1", "1", text)

    def test_numbers_in_a_text_are_no_rows(self, tmp_path: Path) -> None:
        text = "Slices\n3, 4, 5.\n100, 101, 102.\n2021, in May, normal"
        (tmp_path / "t.csv").write_text(f'id,who,text\n101,17,"{text}"\n102,18,b\n')
        assert cells_of(tmp_path / "t.csv")[1] == ("101", "17", text)

    def test_quotes_inside_of_a_line_are_told_and_read(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text('id,text\nE1,"a "hot" node"\nE2,b\n')
        rows = list(read_table_file(tmp_path / "t.csv").rows)
        assert [row.cells for row in rows] == [("E1", 'a hot" node"'), ("E2", "b")]
        assert rows[0].problem is not None
        assert rows[1].problem is None

    def test_numbers_of_rows_are_those_of_an_editor(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text('sep=,\n\nid,text\nE1,"a\nb"\n\nE2,c\n')
        rows = read_table_file(tmp_path / "t.csv").rows
        assert [row.number for row in rows if row.cells] == [4, 7]


class TestWithoutLoneSurrogates:
    @given(st.text(st.characters(codec=None)))
    def test_can_be_encoded(self, text: str) -> None:
        assert without_lone_surrogates(text).encode().decode() == without_lone_surrogates(text)

    def test_joins_a_pair_and_replaces_a_half(self) -> None:
        assert without_lone_surrogates("a\ud83d\ude00b\ud800c") == "a\U0001f600b\ufffdc"
