"""Rows of a table that people saved: CSV or TSV of any program and character set, or a workbook (.xlsx, .xls, .ods).

What is wrong with one row stands in the row. A file whose rows cannot be told apart (a quoted text that never ends, a
file that is cut short) is refused, because one row would hold the others.
"""

import csv
import io
import itertools
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Self

import python_calamine

DELIMITERS = ",;\t|"
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm", ".xls", ".ods")
_WORKBOOK_STARTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
"""First bytes of a zip archive (.xlsx, .ods) and of an OLE file (.xls), whatever the file is called."""

MOST_UNPACKED_BYTES = 1 << 29
"""A workbook that unpacks to more is refused: 512 MiB hold a hundred thousand long reports."""

csv.field_size_limit(2**31 - 1)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHARE_OF_NULS = 0.2
"""Of the bytes of a text in UTF-16 without its mark; Western text has nearly 0.5, other scripts have their blanks."""


class TableFileError(ValueError):
    """A file that is no table whose rows can be told apart; the message says what to do."""


@dataclass(frozen=True)
class TableRow:
    """One row: its number (the header's line is 1, as an editor counts), its cells, and what is wrong with it."""

    number: int
    cells: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True)
class TableFile:
    """A table as it was saved: names of its columns, its rows, and a word on how its text was read."""

    header: tuple[str, ...]
    rows: Iterable[TableRow]
    note: str | None = None


def read_table_file(path: Path) -> TableFile:
    """The table in a CSV, TSV or workbook; which one is told by its content. Empty lines before the header count not.

    Rows come as they are read: one that breaks the table raises when it is reached.

    Raises:
        TableFileError: it holds no text and is no workbook, has no header, or its rows cannot be told apart.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    if data.startswith(_WORKBOOK_STARTS):
        return _workbook(data)
    text, note = decode_table(data)
    rows = _records(text, "\t" if path.suffix.lower() == ".tsv" else "")
    header = next((row for row in rows if not is_blank(row.cells)), None)
    return TableFile(header.cells if header else (), rows, note)


def is_blank(cells: Iterable[str]) -> bool:
    """Whether no cell holds more than blanks."""
    return not any(cell.strip() for cell in cells)


def decode_table(data: bytes) -> tuple[str, str | None]:
    """Text of a table's bytes and a word on how they were read; UTF-16 is known without its mark too.

    Raises:
        TableFileError: the bytes are no text.
    """
    text, note = decode(data)
    if "\x00" in text:
        head = data[: 1 << 16]
        for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
            if zeros.count(0) > _SHARE_OF_NULS * len(head):
                try:
                    text, note = data.decode(encoding), "not UTF-8: read as UTF-16"
                except UnicodeDecodeError:
                    continue
                break
    if "\x00" in text:
        raise TableFileError("expected text, got binary data: export it as CSV UTF-8 or as .xlsx")
    return text, note


def decode(data: bytes) -> tuple[str, str | None]:
    """Text of bytes and, where they are not UTF-8, a word on how they were read (UTF-16 by its mark, else
    Windows-1252).
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16"), "not UTF-8: read as UTF-16"
        except UnicodeDecodeError:
            pass
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is no UTF-8"
        try:
            text, name = data.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:
            text, name = data.decode("latin-1"), "Latin-1"
        return text, f"not UTF-8 ({where}): read as {name}; save the file as UTF-8 if letters look wrong"


def without_lone_surrogates(text: str) -> str:
    """The text with U+FFFD for halves of a surrogate pair that stand alone, which no file takes; whole pairs are the
    character that they mean.
    """
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# --- CSV ---


class _Lines:
    """Lines of a text from a line on, with those that were taken since the last record."""

    def __init__(self, lines: Iterable[str], number: int) -> None:
        self._lines = iter(lines)
        self.taken: list[str] = []
        self.number = number
        """Of the last line that was taken."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.taken.append(line)
        return line


def _records(text: str, delimiter: str) -> Iterator[TableRow]:
    """Records of a CSV from its header on."""
    # Not translated: a quoted text keeps its line ends, and old Macs end lines with CR alone.
    source = io.StringIO(text, newline="")
    skipped, first = 0, ""
    for first in source:
        stated = re.fullmatch(r'"?sep=(.)"?\s*', first)
        if stated:
            # Excel's own first line, which it does not show.
            delimiter = stated[1]
        elif first.strip() and not first.startswith("#"):
            break
        skipped += 1
    delimiter = delimiter or (max(DELIMITERS, key=first.count) if any(d in first for d in DELIMITERS) else ",")
    lines = _Lines(itertools.chain([first], source), skipped)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    n_fields = 0
    while True:
        lines.taken.clear()
        start = lines.number + 1
        try:
            row = TableRow(start, tuple(next(rows)))
        except StopIteration:
            return
        except csv.Error:
            row = _with_stray_quotes(start, lines.taken, delimiter)
        if len(lines.taken) > 1 and _holds_rows(lines.taken, delimiter, n_fields):
            raise TableFileError(_open_quote(start))
        if n_fields and row.cells and len(row.cells) < n_fields and not lines.taken[-1].endswith(("\n", "\r")):
            raise TableFileError(
                f"expected {n_fields} fields in row {start}, the last one, got {len(row.cells)} and no end of the "
                "line: the file is cut short, export or copy it again"
            )
        n_fields = n_fields or len(row.cells)
        yield row


def _open_quote(number: int) -> str:
    return (
        f"expected rows that can be told apart, got a quoted text in row {number} that does not end where it should: "
        'the file is cut short, or a quote (") is missing or must be doubled; export it again'
    )


def _with_stray_quotes(number: int, lines: list[str], delimiter: str) -> TableRow:
    """A record that breaks the rules of quoting, where it is surely one line: its quotes are in pairs."""
    if len(lines) != 1 or lines[0].count('"') % 2:
        raise TableFileError(_open_quote(number))
    cells = next(csv.reader(lines, delimiter=delimiter), [])
    return TableRow(number, tuple(cells), f"row {number} has quotes inside of a quoted text: double them")


def _holds_rows(lines: list[str], delimiter: str, n_fields: int) -> bool:
    """Whether a later line of a quoted text looks like a row of the table: as many fields, of which the first one is
    formed as that of the record (E0042 and E0043); where ids are numbers, of as many digits, the second one too.
    """
    own = lines[0].split(delimiter)
    shape = _shape(own[0])
    if n_fields < 2 or "9" not in shape:
        return False
    for line in lines[1:]:
        cells = line.split(delimiter)
        if len(cells) < n_fields or _shape(cells[0]) != shape:
            continue
        if "A" in shape:
            return True
        is_number_as_long = len(cells[0]) == len(own[0]) >= _DIGITS_OF_ID
        if is_number_as_long and _shape(cells[1]) == _shape(own[1]) and cells[1] == cells[1].lstrip():
            return True
    return False


_DIGITS_OF_ID = 3
"""A line of a report may begin with a shorter number."""


def _shape(cell: str) -> str:
    """Form of an id: A for a letter, 9 for digits in a row."""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]", "A", cell.strip()[:_LONGEST_SHAPE]))


_LONGEST_SHAPE = 60
"""Characters of a cell that are compared; no id is longer."""


# --- workbooks ---


def _workbook(data: bytes) -> TableFile:
    """The first sheet of a workbook that holds anything, as text."""
    _check_unpacked(data)
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        for name in book.sheet_names:
            rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
            found = [TableRow(n, tuple(map(_cell, row))) for n, row in enumerate(rows, start=1)]
            start = next((n for n, row in enumerate(found) if not is_blank(row.cells)), None)
            if start is not None:
                return TableFile(found[start].cells, found[start + 1 :])
    except python_calamine.PasswordError:
        raise TableFileError("expected a workbook that opens, got one with a password: save it without") from None
    except (python_calamine.CalamineError, ValueError, OSError, zipfile.BadZipFile):
        raise TableFileError(
            "expected a workbook (.xlsx, .xls, .ods), got one that cannot be read: save it again, or as CSV UTF-8"
        ) from None
    return TableFile((), ())


def _check_unpacked(data: bytes) -> None:
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return  # What is wrong with it is told by who reads it.
    if size > MOST_UNPACKED_BYTES:
        raise TableFileError(
            f"expected a workbook of at most {MOST_UNPACKED_BYTES >> 20} MiB unpacked, got {size >> 20}: save it as CSV"
        )


def _cell(value: object) -> str:
    """A cell as it is written; a whole number has no decimals, a date is ISO's."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value)
