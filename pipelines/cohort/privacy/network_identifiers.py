"""Addresses of networks, mail and accounts, paths and names of files, coordinates: what is told by its form."""

import ipaddress
import re
from collections.abc import Iterator
from functools import cache

from pipelines.cohort.privacy.measured_numbers import is_measured
from pipelines.cohort.privacy.name_words import cues

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_URL = re.compile(
    r"(?<![\w@.-])(?:(?:https?|ftp|sftp|file)://|www\.)[^\s,;)>\]]*[^\s,;)>\].]"
    r"|(?<![\w@.-])(?:[a-z0-9-]{1,63}\.){1,5}(?:com|org|net|edu|gov|mil|info)\b(?:/[^\s,;)>\]]*[^\s,;)>\].])?"
    r"|(?<![\w@.-])(?:[a-z0-9-]{2,63}\.){1,5}[a-z]{2,8}/[^\s,;)>\]]*[^\s,;)>\].]",
    re.IGNORECASE,
)
_MAY_BE_URL = re.compile(r"://|www\.|\w\.(?:com|org|net|edu|gov|mil|info)\b|[a-z]\.[a-z]{2,8}/", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?:(?::|/)\d{1,5})?(?![\w]|\.\d)")
_COLONS = re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:%\w+)?(?![\w:])")
_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")
_PAIRS_OF_HEX = re.compile(r":[0-9A-Fa-f]{0,4}:|[0-9A-Fa-f]-[0-9A-Fa-f]{2}-")
_SPELLED_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}[ ]?(?:[(\[{<][ ]?at[ ]?[)\]}>]|[ ]AT[ ])[ ]?[\w-]{1,63}"
    r"(?:[ ]?(?:[(\[{<][ ]?dot[ ]?[)\]}>]|[ ]DOT[ ]|\.)[ ]?[\w-]{1,63}){1,4}"
    r"|(?<![\w.+-])[\w.+-]{1,64}[ ]at[ ][\w-]{1,63}(?:[ ]dot[ ][\w-]{1,63}){1,4}"
)
"""rose (at) example (dot) org, rose AT example DOT org, rose at example dot org."""
_HANDLE = re.compile(r"(?<![\w.@/+-])@[A-Za-z_][\w.-]{2,40}(?<![.-])")
_WINDOWS_PATH = re.compile(r"(?<!\w)(?:[A-Za-z]:\\|\\\\[\w.$-]+\\)[^\s\"'<>|;,)\]]*")
_UNIX_PATH = re.compile(r"(?<![\w/.])~?/(?:[\w.+@-]+/)+[\w.+@-]*")
_COORDINATES = re.compile(
    r"(?<![\d.,])[-+]?\d{1,3}\.\d{3,8}[ ]?°?[ ]?[NSns]?[,;/ ][ ]?[-+]?\d{1,3}\.\d{3,8}(?!\d)(?:[ ]?°?[ ]?[EWOew]\b)?"
)
_DEGREES = re.compile(
    r"(?<!\w)\d{1,3}[ ]?°[ ]?\d{1,2}[ ]?['’′][ ]?(?:\d{1,2}(?:\.\d+)?[ ]?(?:[\"”″]|''))?[ ]?[NSEWO]\b"
)
_FILE_ENDINGS = (
    "dcm",
    "dicom",
    "nii",
    "nrrd",
    "mha",
    "pdf",
    "docx?",
    "xlsx?",
    "txt",
    "rtf",
    "csv",
    "jpe?g",
    "png",
    "tiff?",
    "zip",
    "mp4",
    "avi",
    "hl7",
    "xml",
)
_FILE = re.compile(
    rf"(?<![\w./\\-])(?P<stem>[\w-]+(?:\.[\w-]+){{0,4}}?)\.(?:{'|'.join(_FILE_ENDINGS)})(?:\.gz)?(?!\w)", re.IGNORECASE
)
_MAY_BE_FILE = re.compile(rf"\.(?:{'|'.join(_FILE_ENDINGS)})\b", re.IGNORECASE)


def network_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of addresses, accounts, paths, names of files and coordinates in a text."""
    if "@" in text:
        yield from (("email", *m.span()) for m in _EMAIL.finditer(text))
        yield from (("number", *m.span()) for m in _HANDLE.finditer(text))
    if _MAY_BE_SPELLED.search(text):
        yield from (("email", *m.span()) for m in _SPELLED_EMAIL.finditer(text))
    if _MAY_BE_URL.search(text):
        yield from (("url", *m.span()) for m in _URL.finditer(text))
    if "\\" in text:
        yield from (("url", *m.span()) for m in _WINDOWS_PATH.finditer(text))
    if "/" in text:
        yield from (("url", *m.span()) for m in _UNIX_PATH.finditer(text))
    if _MAY_BE_FILE.search(text):
        yield from (("url", *m.span("stem")) for m in _FILE.finditer(text))
    low = text.lower()
    if any(word in low for words in cues()["accounts"].values() for word in words):
        yield from (("number", *m.span("account")) for m in _accounts().finditer(text))
    if any(c.isdecimal() for c in text):
        yield from _networks(text)
        if "." in text or "°" in text:
            for pattern in (_COORDINATES, _DEGREES):
                for match in pattern.finditer(text):
                    if not is_measured(text, match.start()):
                        yield "address", *match.span()


_MAY_BE_SPELLED = re.compile(r"[(\[{<][ ]?at[ ]?[)\]}>]|[ ]AT[ ]\w+[ ]?(?:DOT|\.)[ ]?\w|[ ]at[ ][\w-]+[ ]dot[ ]")


@cache
def _accounts() -> re.Pattern[str]:
    """The name after "username:", "Skype:", "host"."""
    words = "|".join(re.escape(word) for word in sorted(cues()["accounts"]["before"], key=len, reverse=True))
    strong = "|".join(re.escape(word) for word in sorted(cues()["accounts"]["before_any"], key=len, reverse=True))
    # A word without digit or sign behind "host" or "user" is another word, but after a colon.
    return re.compile(
        rf"(?<!\w)(?:(?i:{strong})(?:[ ]?[:=#][ ]?|[ ](?:is[ ])?)|(?i:{words})[ ]?[:=][ ]?(?=\w*[\d_])"
        rf"|(?i:{words})[ ](?=\w*[\d_.@-]\w))(?P<account>@?[\w][\w.@-]{{2,40}}(?<![.-]))"
    )


def _networks(text: str) -> Iterator[tuple[str, int, int]]:
    for match in _IPV4.finditer(text):
        if _is_address(re.split("[:/]", match[0])[0]) and not is_measured(text, match.start()):
            yield "ip", *match.span()
    if _PAIRS_OF_HEX.search(text):
        for match in _COLONS.finditer(text):
            if _is_address(match[0].split("%")[0]):
                yield "ip", *match.span()
        yield from (("number", *m.span()) for m in _MAC.finditer(text))


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True
