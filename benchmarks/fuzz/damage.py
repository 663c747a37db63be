"""How an input is damaged: bytes, cells of tables, values of JSON and TOML, attributes of DICOM. All by a seeded random
generator, so that a case is its input's name and a number.
"""

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset

WORDS: tuple[str, ...] = (
    "", " ", "0", "-1", "1e20", "1e400", "nan", "inf", "-0.0", "9" * 40, "0x10", "1,5", "\u0661\u0662", "\u00bd",
    "true", "null", "None", "a" * 300, "\u00e9" * 300, "\ud800", "\udcff\udc80", "\U0001f600", "\u0000", "\ufeff",
    "\u200b", "\u00a0", "e\u0301", "\u2028", "\r\n", "..", "/etc/passwd", "../../up", "C:\\x", "=1+1",
    "'; drop table exams; --", "<script>", "{{", "%s%n", "\\", '"', '""', "'" * 50, "2026-02-30", "20261301",
    "0001-01-01", "9999-12-31T23:59:59+23:59", "E1:0000abcd", "(" * 500, "[" * 500, "a-" * 400, "1.1" * 300,
    "SUV max of 8.0 (slice 3) " * 40, "slice 99999999999999999999", "SUV 1e9 (slice 5)",
)  # fmt: skip
"""Values that once broke a reader somewhere."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**70,
    1e308,
    1.5,
    [],
    {},
    [[]],
    [None],
    {"a": {}},
    [{"value": [1]}],
    *WORDS,
)
"""The same as JSON has them, of every type."""

Damage = Callable[[bytes, random.Random], bytes]


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes: flipped, lost, doubled, moved, cut, or put in."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        length = min(rng.choice((1, 1, 2, 4, 16, 256)), len(out) - at)
        match rng.randrange(7):
            case 0:
                for i in range(at, at + length):
                    out[i] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + length]
            case 2:
                out[at:at] = out[at : at + length] * rng.choice((1, 3, 50))
            case 3:
                out[at:at] = rng.randbytes(rng.choice((1, 2, 8)))
            case 4:
                out[at : at + length] = bytes([rng.choice((0, 0xFF, 0x80, 0x7F))]) * length
            case 5:
                del out[at:]
            case _:
                out[at:at] = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    return bytes(out)


def of_table(data: bytes, rng: random.Random) -> bytes:
    """A CSV with cells, rows, quotes, delimiters or its encoding changed."""
    text = data.decode()
    rows = list(csv.reader(io.StringIO(text)))
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows) if rows else []
        match rng.randrange(6):
            case 0 | 1 if row:
                row[rng.randrange(len(row))] = rng.choice(WORDS)
            case 2 if row:
                del row[rng.randrange(len(row))]
            case 3:
                row.append(rng.choice(WORDS))
            case 4:
                rows.insert(rng.randrange(len(rows) + 1), list(row))
            case _ if rows:
                rows[0][rng.randrange(len(rows[0]) or 1) :] = [rng.choice(WORDS)]
    out = io.StringIO()
    delimiter = rng.choice(",,,;\t|")
    csv.writer(out, delimiter=delimiter, lineterminator=rng.choice(("\n", "\r\n", "\r"))).writerows(rows)
    text = rng.choice(("", "", "", f"sep={delimiter}\r\n", "\ufeff", "\n", "# x\n")) + out.getvalue()
    if rng.random() < 0.3 and text:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(('"', '""', "\n", "", '"\n"')) + text[at + rng.randrange(2) :]
    if rng.random() < 0.1:
        text = text[: rng.randrange(len(text) + 1)]
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "mac_roman"))
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


def of_json(data: bytes, rng: random.Random) -> bytes:
    """JSON with one to three of its values replaced by another of any type, or a key of it taken away."""
    value = json.loads(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.choice(list(_places(value)))
        if not place:
            continue
        owner = value
        for key in place[:-1]:
            owner = owner[key]
        if rng.random() < 0.15 and isinstance(owner, dict):
            del owner[place[-1]]
        else:
            owner[place[-1]] = rng.choice(VALUES)
    return json.dumps(value, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")


def _places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _places(inner, (*prefix, key))
    return found or [()]


def of_toml(data: bytes, rng: random.Random) -> bytes:
    """Lines of TOML with values or names replaced, doubled, moved or taken away."""
    lines = data.decode().splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        name, equals, value = lines[at].partition("=")
        match rng.randrange(6):
            case 0 | 1 | 2 if equals:
                lines[at] = f"{name}= {_toml_value(rng)}"
            case 3:
                lines.insert(rng.randrange(len(lines) + 1), lines[at])
            case 4:
                del lines[at]
                lines = lines or [""]
            case _:
                lines[at] = rng.choice(("[x]", "[[exam]]", "[exam]", f"{_name(rng)} {equals}{value}", f"{name}.a = 1"))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _name(rng: random.Random) -> str:
    return rng.choice(("", "a", '"a b"', "\u00e9", "1", "a.b", "weights", "__class__"))


def _toml_value(rng: random.Random) -> str:
    plain = (
        "1",
        "-1",
        "1e400",
        "nan",
        "-inf",
        "true",
        "[]",
        "{}",
        "[1, 2, 3]",
        "[[1], [2]]",
        "1979-05-27",
        "9" * 30,
        "0x7f",
        "{a = 1}",
    )
    return rng.choice((*plain, *(json.dumps(word) for word in WORDS)))


def of_dicom(data: bytes, rng: random.Random) -> bytes:
    """A DICOM file with attributes of it changed to what files in the wild have, or its bytes damaged."""
    if rng.random() < 0.5:
        return of_bytes(data, rng)
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    for _ in range(rng.randint(1, 3)):
        _damage_attribute(dataset, rng)
    out = io.BytesIO()
    try:
        pydicom.dcmwrite(out, dataset, enforce_file_format=rng.random() < 0.8)
    except Exception:
        # What pydicom will not write is no case; the bytes are damaged instead.
        return of_bytes(data, rng)
    return out.getvalue()


_NUMBERS = ("0", "-1", "1e9", "1e-9", "", "nan", "65535", "1,5", "70\\80", "abc")
_TIMES = ("", "240000", "99", "110000.999999", "11:00:00", "000000", "235959")
_DATES = ("", "00000000", "20210230", "2021.03.04", "19000101", "99991231", "20210305")


def _damage_attribute(dataset: Dataset, rng: random.Random) -> None:
    """One attribute of a dataset, or of an item in it, is taken away, emptied, or given another value or type."""
    element = rng.choice(list(dataset))
    while element.VR == "SQ" and element.value and rng.random() < 0.8:
        dataset = rng.choice(list(element.value))
        if not len(dataset):
            return
        element = rng.choice(list(dataset))
    kind = rng.randrange(6)
    if kind == 0:
        del dataset[element.tag]
        return
    options: Sequence[Any] = (None, "", *WORDS)
    if element.VR in ("DS", "IS", "FL", "FD", "US", "SS"):
        options = _NUMBERS
    elif element.VR in ("TM", "DT"):
        options = _TIMES
    elif element.VR == "DA":
        options = _DATES
    try:
        if kind == 1 and element.VR not in ("SQ", "OB", "OW"):
            # Written as another type than the dictionary says.
            dataset.add(pydicom.DataElement(element.tag, rng.choice(("LO", "UN", "DS", "OB", "SQ")), None))
        elif element.VR in ("OB", "OW"):
            value = bytes(element.value or b"")
            element.value = rng.choice((b"", value[: len(value) // 2], value + value, value[:-1]))
        else:
            with pydicom.config.disable_value_validation():
                element.value = rng.choice(options)
    except Exception:
        element.clear()
