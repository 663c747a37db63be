"""Texts of all models on held-out lesions: one part a source, kept while nothing it was made from changed, and all
parts together as the table `predictions`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.tables import atomic, schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, LakeError, encode, read_meta

HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class TableReport:
    """A whole table after an update: rows, version, how many rows were made anew and how many kept, and what went
    wrong on the way.
    """

    frame: pl.DataFrame
    version: str
    recomputed: int
    reused: int
    problems: Sequence[str] = field(default=())


def held_out_findings(home: Home) -> pl.DataFrame:
    """The samples of held-out findings; empty where no lesion is held out and some wait for a model's text.

    Raises:
        ValueError: no finding is held out, and none lacks a text.
    """
    lake = Lake(home.lake)
    findings = lake.read_table("samples").filter(pl.col("kind") == "finding")
    held_out = findings.filter(pl.col("split").is_in(HELD_OUT))
    if held_out.is_empty() and lake.read_table("findings").filter(pl.col("text_source") == "composed").is_empty():
        raise ValueError(
            f"expected findings in the splits {' and '.join(HELD_OUT)}, got none of {findings.height}: curate "
            "more patients, or give these splits a larger share ([samples] in the settings)"
        )
    return held_out


def samples_version(home: Home) -> str:
    """Digest of the table `samples` as it is now; empty where there is none."""
    return Lake(home.lake).shard_version("samples") or ""


def checkpoint_version(checkpoint: Path) -> str:
    """Hash of a checkpoint's weights and contract: what was trained, whatever the folder is called.

    Raises:
        FileNotFoundError: there is no checkpoint; the message says which asset makes it.
    """
    files = (
        sorted(p for p in checkpoint.glob("*") if p.suffix in (".safetensors", ".json")) if checkpoint.is_dir() else []
    )
    if not files:
        raise FileNotFoundError(
            f"expected a checkpoint in {checkpoint}, got none: materialise {checkpoint.parent.name} first"
        )
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return digest.hexdigest()


def update_part(
    home: Home,
    source: str,
    made_from: Mapping[str, Any],
    make: Callable[[], pl.DataFrame | tuple[pl.DataFrame, Sequence[str]]],
    *,
    retry_failed: bool = False,
) -> TableReport:
    """The texts of one source, made anew where `made_from` or the samples differ from what they were made from.

    `make` gives rows of `predictions`, or those with problems to tell. With `retry_failed` a part in which a text
    failed is made again: its maker keeps what succeeded.
    """
    inputs = {**made_from, "samples": samples_version(home)}
    path = _path(home, source)
    if path.exists():
        meta = read_meta(path, "predictions", source)
        frame = pl.read_parquet(path)
        failed = retry_failed and frame["error"].null_count() < frame.height
        if meta.inputs.get("made_from") == inputs and not failed:
            return TableReport(frame, meta.rows_digest, 0, meta.n_rows, meta.inputs.get("problems", ()))
    made = make()
    frame, problems = made if isinstance(made, tuple) else (made, ())
    good, bad = schemas.validate("predictions", frame)
    if not bad.is_empty():
        raise schemas.ContractError(f"texts of {source}: {bad.height} rows broke the contract: {bad['broken'][0]}")
    data, digest = encode("predictions", source, good, {"made_from": inputs, "problems": list(problems)})
    atomic.write_bytes(path, data)
    return TableReport(good, digest, good.height, 0, tuple(problems))


def drop_part(home: Home, source: str) -> None:
    """Removes the texts of a source that is no longer wanted."""
    _path(home, source).unlink(missing_ok=True)


def _path(home: Home, source: str) -> Path:
    return home.texts / f"{source}.parquet"


def collect_predictions(home: Home) -> TableReport:
    """The table `predictions`: the parts of all sources that describe the samples as they are now.

    A part made from other samples is left out and named, and so is one that an older version of the code wrote. A model
    of a name that an earlier part (by name) has already is called after its source too, so that no text replaces
    another.
    """
    lake = Lake(home.lake)
    now = samples_version(home)
    frames, digests, problems = [schemas.empty("predictions")], {}, []
    taken: set[str] = set()
    for path in sorted(home.texts.glob("*.parquet")):
        try:
            meta = read_meta(path, "predictions", path.stem)
        except LakeError as error:
            problems.append(str(error))
            continue
        problems += meta.inputs.get("problems", ())
        if meta.inputs["made_from"]["samples"] != now:
            problems.append(f"{path.stem}: made from other samples than those of now: materialise it again")
            continue
        frame = pl.read_parquet(path)
        clash = sorted(taken & set(frame["model"]))
        if clash:
            problems.append(f"{path.stem}: {', '.join(clash)} is there already, so it is called by its source too")
            is_taken = pl.col("model").is_in(clash)
            renamed = pl.format("{} ({})", "model", pl.lit(path.stem))
            frame = frame.with_columns(pl.when(is_taken).then(renamed).otherwise("model").alias("model"))
        taken |= set(frame["model"])
        frames.append(frame)
        digests[path.stem] = meta.rows_digest
    made_from = {"parts": digests, "samples": now}
    written_before = lake.shard_meta("predictions")
    if written_before is not None and written_before.inputs.get("made_from") == made_from:
        rows = lake.read_table("predictions")
        return TableReport(rows, written_before.rows_digest, 0, rows.height, problems)
    curation = (lake.shard_inputs("samples") or {}).get("curation")
    written = lake.write_table("predictions", pl.concat(frames), {"made_from": made_from, "curation": curation})
    return TableReport(lake.read_table("predictions"), written.rows_digest, written.n_rows, 0, problems)
