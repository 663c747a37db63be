"""Bodies of multipart/form-data as fields and files: what browsers, curl and 3D Slicer send."""

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser


class FormError(ValueError):
    """A body that is no form; the message says what was expected."""


@dataclass(frozen=True)
class Part:
    """One field of a form; a file has a name of its own."""

    name: str
    content: bytes
    filename: str | None = None


def form_parts(content: bytes, content_type: str) -> list[Part]:
    """The parts of a body in order, contents as they were sent (RFC 7578). Raises FormError where it is cut short."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise FormError(f"expected a boundary in the content type, got {content_type!r}")
    delimiter = b"--" + boundary.encode()
    # A delimiter is a line of its own: the line break before belongs to it and not to the part before.
    pieces = re.split(rb"(?:^|\r\n)" + re.escape(delimiter) + rb"(?=--|[ \t]*\r\n)", content)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise FormError("expected a form that ends with its boundary, got one that is cut short")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator:
        raise FormError("expected headers and an empty line in each part of the form, got a part without")
    headers = HeaderParser().parsestr(head.lstrip(b"\r\n").decode("utf-8", "replace"))
    name = headers.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise FormError("expected a name in each part of the form, got a part without")
    return Part(name, content, headers.get_filename())
