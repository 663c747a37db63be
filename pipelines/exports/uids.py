"""UIDs that are derived from what they stand for: two exports of one thing have the same, on any machine."""

import hashlib


def uid_of(*parts: str | bytes) -> str:
    """A UID below 2.25 (PS3.5, B.2) of 122 bits of the parts' hash: equal parts have equal UIDs."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    # Version 8 (of the maker's own making) and the variant of RFC 9562, so that the number is one of a UUID.
    number = int.from_bytes(digest.digest(), "big")
    number = number & ~(0xF << 76) | (0x8 << 76)
    return f"2.25.{number & ~(0x3 << 62) | (0x2 << 62)}"
