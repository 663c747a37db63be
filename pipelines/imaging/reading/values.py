"""Values of DICOM attributes as texts and numbers, in whatever way a file writes them.

Attributes are converted when they are asked for, and a damaged one raises then: every access of the reading goes
through here, so that it names the attribute and nothing of its value.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pipelines.imaging.problems import ExamError
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason

_BLANKS = "\0 \t\r\n"
_PLAIN_VRS = frozenset(("AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"))
"""Kinds of values that are written as text, several divided by a backslash."""
EQUAL_NUMBERS = 1e-4
"""Relative difference up to which two numbers of a series are one, written with more or fewer digits."""


@cache
def _tag_of(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def tag_name(keyword: str) -> str:
    """Keyword and tag of an attribute, as messages name it: "PatientWeight (0010,1030)"."""
    tag = _tag_of(keyword)
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The value of an attribute, None where it is missing or empty.

    Raises:
        ExamError(UNREADABLE): its bytes are damaged; names the attribute.
    """
    try:
        value = dataset.get(keyword)
    except Exception as error:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{tag_name(keyword)} cannot be read ({error_reason(error)}): export the series again",
        ) from None
    return None if value is None or value == "" else value


def values_of(dataset: Dataset, keyword: str) -> tuple[Any, ...]:
    """The values of an attribute, texts without blanks around them; () where it is missing or empty."""
    if (plain := _plain_values(dataset, _tag_of(keyword))) is not None:
        return plain
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    if isinstance(value, str | bytes):
        return (_text(value),)
    return tuple(value) if hasattr(value, "__iter__") else (value,)


def _plain_values(dataset: Dataset, tag: int) -> tuple[str | int, ...] | None:
    """The values of an attribute that was read and not converted yet, where they are plain text or one short number;
    None where pydicom must convert it, which takes most of the time of reading a header."""
    element = dataset.get_item(tag, keep_deferred=True)
    if element is None:
        return ()
    if type(element) is not RawDataElement or not isinstance(element.value, bytes):
        return None
    vr = element.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "UN")
    if vr in _PLAIN_VRS and element.value.isascii() and b"\x1b" not in element.value:
        text = element.value.decode("ascii").strip(_BLANKS)
        return tuple(part.strip(_BLANKS) for part in text.split("\\")) if text else ()
    if vr == "US" and len(element.value) == 2:
        return (int.from_bytes(element.value, "little" if element.is_little_endian else "big"),)
    return None


def text_of(dataset: Dataset, keyword: str) -> str:
    """The value of an attribute as text without blanks around; '' where it is missing. Several are joined by DICOM's
    backslash."""
    return "\\".join(_text(value) for value in values_of(dataset, keyword))


def words_of(dataset: Dataset, keyword: str) -> set[str]:
    """The values of an attribute in upper case, such as those of ImageType."""
    return {word for value in values_of(dataset, keyword) if (word := _text(value).upper())}


def items_of(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence; () where it is missing, or where what stands there is no sequence."""
    value = value_of(dataset, keyword)
    return tuple(item for item in value if isinstance(item, Dataset)) if isinstance(value, Sequence) else ()


def number(value: Any) -> float | None:
    """A finite number of a value (numbers, texts, bytes of an unknown VR; the first of several), or None.

    A decimal comma is read as a point: some exporters write numbers as their system's language does.
    """
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        value = next(iter(value), None)
    if value is None:
        return None
    written = _text(value)
    if written.count(",") == 1 and "." not in written:
        written = written.replace(",", ".")
    try:
        parsed = float(written)
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """The number of an attribute; None where it is missing or is no finite number."""
    return number(values_of(dataset, keyword))


def numbers_of(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """The `count` numbers of an attribute; () where it is missing.

    Raises:
        ExamError(BAD_VALUES): there are more or fewer, or one is no finite number.
    """
    values = values_of(dataset, keyword)
    if not values:
        return ()
    parsed = [number(value) for value in values]
    found = tuple(value for value in parsed if value is not None)
    if len(found) != count or len(parsed) != count:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected {count} numbers in {tag_name(keyword)}, got {len(found)} of {len(parsed)} values that are"
            " numbers: export the series again",
        )
    return found


def whole_number_of(dataset: Dataset, keyword: str, default: int = 0) -> int:
    """The whole number of an attribute; `default` where it is missing or none."""
    value = number_of(dataset, keyword)
    return default if value is None or value != int(value) else int(value)


def agreed_number(numbers: Iterable[float | None], keyword: str) -> float | None:
    """The one number that the slices of a series state; None where none does. Zero does not contradict another one: it
    is what is written where nothing is known.

    Raises:
        ExamError(BAD_VALUES): two slices state different ones.
    """
    written = {n for n in numbers if n is not None}
    stated = {n for n in written if n}
    if not stated:
        return 0.0 if written else None
    if max(stated) - min(stated) > EQUAL_NUMBERS * max(abs(n) for n in stated):
        raise _contradiction(keyword, len(stated))
    return max(stated)


def agreed_text(texts: Iterable[str], keyword: str) -> str:
    """The one text that the slices of a series state; '' where none does.

    Raises:
        ExamError(BAD_VALUES): two slices state different ones.
    """
    stated = {t for t in texts if t}
    if len(stated) > 1:
        raise _contradiction(keyword, len(stated))
    return stated.pop() if stated else ""


def _contradiction(keyword: str, count: int) -> ExamError:
    return ExamError(
        ExamProblem.BAD_VALUES,
        f"expected one {tag_name(keyword)} in all slices of a series, got {count} different ones: correct the tag, or"
        " separate the series",
    )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="ignore")
    return str(value).strip(_BLANKS)
