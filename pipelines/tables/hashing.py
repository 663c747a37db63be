"""Short, stable hashes of values and files, used for row keys, data versions and fingerprints."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_CHUNK_BYTES = 1 << 20
_SCALARS = frozenset((str, int, float, bool))
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def plain(value: Any) -> Any:
    """A JSON-serialisable value: dataclasses, models and dicts as dicts, enums and paths as their text, sets sorted."""
    if value is None or type(value) in _SCALARS:
        return value
    if isinstance(value, list | tuple):
        # Most values are scalars already, and a cohort has hundreds of thousands of them.
        return [v if v is None or type(v) in _SCALARS else plain(v) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(v) for v in value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return value


def hash_of(*parts: Any) -> str:
    """32 hex digits of the parts: equal for equal values, across runs and machines.

    Parts may be nested dataclasses, pydantic models, dicts, lists, enums, numbers, strings and None; anything else
    raises TypeError.
    """
    return blake2b(_ENCODER.encode(plain(parts)).encode(), digest_size=16).hexdigest()


def hash_of_files(paths: Iterable[tuple[str, Path]]) -> str:
    """32 hex digits of the names and contents of files, streamed; `paths` are (name, path), hashed in sorted order.

    A file that cannot be read counts by its name and the system's word on it; who reads it next tells what is wrong.
    """
    digest = blake2b(digest_size=16)
    for name, path in sorted(paths):
        digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
        size = 0
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError as error:
            digest.update(f"\0unreadable {error.errno}\0".encode())
        # The length closes each entry, so that moving bytes from one file to the next changes the hash.
        digest.update(size.to_bytes(8, "big"))
    return digest.hexdigest()
