"""What became of a shard in another process, as a file of JSON: what was done, or the error."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.curation.shard_work import StageDone
from pipelines.curation.stages.incremental import UpdateCounts
from pipelines.tables import atomic


class RecordedError(RuntimeError):
    """An error of a shard that another process recorded, in its words."""


def write_record(path: Path, done: Sequence[StageDone], error: Exception | None) -> None:
    """Writes what was done of a shard, or the error."""
    words = None if error is None else str(error) or type(error).__name__
    stages = [{**asdict(one), "details": _plain(one.details)} for one in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, json.dumps({"error": words, "done": stages}).encode())


def read_record(path: Path, shard: int) -> list[StageDone] | RecordedError | None:
    """What was done of a shard, or its error; null where there is no record."""
    if not path.exists():
        return None
    values = json.loads(path.read_text())
    if values["error"] is not None:
        return RecordedError(values["error"])
    return [
        StageDone(**{**one, "counts": UpdateCounts(**one["counts"]), "details": _details(one["details"])})
        for one in values["done"]
    ]


def _plain(details: Mapping[str, Any]) -> dict[str, Any]:
    """Details in values of JSON: frames as their rows, pictures as text."""
    found: dict[str, Any] = {}
    for name, value in details.items():
        if isinstance(value, pl.DataFrame):
            found[name] = {"frame": json.loads(value.write_json())}
        else:
            found[name] = {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else {"value": value}
    return found


def _details(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in values.items():
        if "frame" in kind:
            found[name] = pl.DataFrame(kind["frame"], infer_schema_length=None)
        else:
            found[name] = base64.b64decode(kind["bytes"]) if "bytes" in kind else kind["value"]
    return found
