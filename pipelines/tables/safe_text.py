"""Names of files, values of headers and errors of other libraries, as messages and tables may show them.

A file may be named after its patient, and a header or the text of an exception may quote one. What is not known to be
harmless is not shown: only words of `technical_words.txt`, single letters and short numbers are. A file is otherwise
told by its position, so that it can still be found.
"""

import csv
import gzip
import json
import lzma
import os
import re
import sqlite3
import struct
import tarfile
import tomllib
import traceback
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

from pipelines.settings import toml_place

REMOVED = "[removed]"
"""Stands for words of a text that are not shown."""
_DIGITS = 4
"""Digits of a name or word that are shown in all, leading zeros not counted: numbers of slices and series have no more,
record numbers, phone numbers and dates have."""
_GROUPS = 2
"""Groups of digits of a name or word that are shown: dates, UIDs and IP addresses have more."""
_PART = re.compile(r"[^\W\d_]+|\d+")
_WORD = re.compile(r"\[removed\]|\d+(?:[\s_^,]+\d+)+(?![^\W_])|[^\s_^,;:()\[\]{}<>\"']+")
"""A word, or numbers in a row: a phone number may be written with blanks."""
_REPEATED = re.compile(rf"{re.escape(REMOVED)}(?:[\s_^,;:]+{re.escape(REMOVED)})+")


@cache
def _technical_words() -> frozenset[str]:
    lines = (resources.files(__package__) / "technical_words.txt").read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.lower().split())


def is_technical(name: str) -> bool:
    """Whether a name is made of technical words, single letters and short numbers alone, so that it names nobody."""
    digits, groups = 0, 0
    for part in _PART.findall(name):
        if part.isdecimal():
            groups += 1
            digits += len(part.lstrip("0"))
        elif len(part) > 1 and part.lower() not in _technical_words():
            return False
    # A name with lone surrogates is not UTF-8, one with control characters is no line of a message.
    return name.isprintable() and digits <= _DIGITS and groups <= _GROUPS


def technical_text(text: str) -> str:
    """The text with its technical words and short numbers; each run of other words is `REMOVED`."""
    words = _WORD.sub(lambda m: m.group() if m.group() == REMOVED or is_technical(m.group()) else REMOVED, text)
    return _REPEATED.sub(REMOVED, " ".join("".join(c if c.isprintable() else " " for c in words).split()))


_QUOTED = re.compile(r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


def without_quotes(message: str) -> str:
    """A message of ours without the values that it quotes."""
    return _QUOTED.sub("a value that is not shown", message)


def file_reference(path: Path, folder: Path) -> str:
    """How a message names a file or folder below `folder`: by its relative path where that is technical, else by its
    position among all that lies there, as `find . ! -type d | LC_ALL=C sort` lists it.

    Args:
        path: what is named, also where it is a link, a pipe or its name is not UTF-8.
        folder: an exam's folder, or that of the reports; its own name is never told.
    """
    try:
        parts = path.relative_to(folder).parts
    except ValueError:
        return "a file elsewhere"
    if not parts:
        return "the folder"
    if all(is_technical(part) for part in parts):
        return "/".join(parts)
    wanted = os.fsencode(os.path.join(*parts))
    below = sorted(_entries(os.fsencode(folder)))
    suffix = path.suffix.lower()
    kind = f"a {suffix} file, " if suffix and is_technical(suffix) and suffix[1:] in _technical_words() else ""
    for position, name in enumerate(below, start=1):
        if name == wanted:
            return f"file {position} of {len(below)} ({kind}sorted by name)"
        if wanted.startswith(name + b"/"):
            return f"a file below link {position} of {len(below)} ({kind}sorted by name)"
        if name.startswith(wanted + b"/"):
            return f"the folder of file {position} of {len(below)} (sorted by name)"
    return f"a file that is gone ({kind}sorted by name)" if kind else "a file that is gone"


def _entries(folder: bytes) -> Iterator[bytes]:
    """Relative paths of all below a folder that is no folder itself; links are not followed."""
    places = [b""]
    while places:
        place = places.pop()
        try:
            with os.scandir(os.path.join(folder, place) if place else folder) as entries:
                for entry in entries:
                    name = os.path.join(place, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        places.append(name)
                    else:
                        yield name
        except OSError:
            continue


def error_reason(error: BaseException) -> str:
    """What kind of error it was, in our words: never its text, which may quote a patient's data or name.

    Errors of the system keep the system's own words (a full disk, missing rights), JSON and text their position.
    """
    if isinstance(error, zipfile.BadZipFile):
        return "a damaged or cut zip archive"
    if isinstance(error, tarfile.TarError):
        return "a damaged or cut tar archive"
    if isinstance(error, gzip.BadGzipFile):
        return "a damaged gzip file"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeError):
        start = getattr(error, "start", None)
        return "no text of the stated encoding" + (f" at byte {start}" if isinstance(start, int) else "")
    if isinstance(error, tomllib.TOMLDecodeError):
        return f"no TOML {toml_place(error)}"
    if isinstance(error, re.error):
        return "no regular expression" + (f" at character {error.pos + 1}" if error.pos is not None else "")
    if isinstance(error, csv.Error):
        return "quotes that are not closed, or a line too long"
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(_sqlite_name(error), "a fault of SQLite")
    if isinstance(error, ImportError) and error.name:
        return f"no module {error.name}"
    if isinstance(error, AttributeError) and error.name:
        return f"nothing named {error.name}"
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, zlib.error | lzma.LZMAError):
        return "damaged compressed data"
    if isinstance(error, struct.error | EOFError):
        return "cut short"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return type(error).__name__


def _sqlite_name(error: sqlite3.Error) -> str:
    """SQLITE_FULL; of an extended code ("SQLITE_IOERR_READ") its first two words."""
    return "_".join((getattr(error, "sqlite_errorname", None) or "").split("_")[:2])


_SQLITE = {
    "SQLITE_BUSY": "another process holds it",
    "SQLITE_LOCKED": "another process holds it",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_CORRUPT": "a damaged SQLite file",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk cannot be read or written",
    "SQLITE_NOTADB": "no SQLite file",
    "SQLITE_PERM": "missing rights",
    "SQLITE_READONLY": "it cannot be written",
}


def places_of(error: BaseException) -> str:
    """Where an exception was raised, call by call with the lines of code, without its words or those of its causes."""
    return "".join(traceback.format_tb(error.__traceback__))
