"""The Parquet lake: tables with contracts, in shards by patient or whole, each file replaced atomically.

It lies in a folder or in an object store (`places`).
`lake/<table>/<shard>.parquet` holds a sharded table, `lake/<table>/all.parquet` a whole one,
`lake/quarantine/<table>-<shard>.parquet` the rows that broke a contract. Equal rows give equal bytes: rows are sorted
by their key and nothing in a file tells the time.
"""

import contextlib
import functools
import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.tables import schemas
from pipelines.tables import storage_paths as places
from pipelines.tables.errors import first_line, listed
from pipelines.tables.safe_text import error_reason
from pipelines.tables.shards import N_SHARDS, SHARD_NAMES, shard_name, shard_of
from pipelines.tables.storage_paths import StoragePath

log = logging.getLogger(__name__)

WHOLE = "all"
"""Shard name of a table that is not in shards."""

FORMER_NAMES = {"lesions": "localisations"}
"""Table -> its name in a lake of before; a shard that lies there is read for reuse, and goes when it is written."""

_ROW_GROUP_ROWS = 131_072
_META = "petar."
_INPUTS, _INPUTS_OF = "inputs", "inputs."
_BY_EXAM = ("keys", "digests", "notes")
"""Inputs with an entry an exam, which stand in entries of their own in the footer."""


class LakeError(RuntimeError):
    """A file of the lake that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class ShardMeta:
    """Metadata of a file of the lake."""

    table: str
    shard: str
    n_rows: int
    n_quarantined: int
    n_shards: int
    schema: Mapping[str, Any]
    """Signature of the schema that it was written with (`schemas.signature_of`)."""
    inputs: Mapping[str, Any]
    inputs_hash: str
    rows_digest: str
    """Hash of the rows alone: equal rows of equal schema have an equal digest, whatever their inputs were."""


class _StoredInputs(Mapping[str, Any]):
    """The inputs of a file as its footer holds them. What stands there of each exam is parsed when it is asked for: of
    all files of a large home at once it would fill the memory, and whether a shard is stale does not need it.

    Args:
        words: JSON by name of the footer's entry.
    """

    def __init__(self, words: Mapping[str, bytes]) -> None:
        self._common: dict[str, Any] = json.loads(words[_INPUTS])
        self._by_exam = {name: words[_INPUTS_OF + name] for name in _BY_EXAM if _INPUTS_OF + name in words}

    def __getitem__(self, name: str) -> Any:
        return json.loads(self._by_exam[name]) if name in self._by_exam else self._common[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_exam or name in self._common

    def __iter__(self) -> Iterator[str]:
        return iter((*self._common, *self._by_exam))

    def __len__(self) -> int:
        return len(self._common) + len(self._by_exam)


@dataclass(frozen=True)
class WriteResult:
    """What a write did."""

    path: StoragePath
    n_rows: int
    quarantined: int
    broken_rules: Mapping[str, int]
    rows_digest: str
    changed: bool
    """False where the file already held exactly these bytes and was left alone."""


@dataclass(frozen=True)
class Lake:
    """The tables under a folder (PETAR_HOME/lake) or a URL."""

    root: StoragePath

    def path(self, table: str, shard: int | str = WHOLE) -> StoragePath:
        """Where a shard of a table lies."""
        schemas.schema_of(table)
        return self.root / table / f"{_name(shard)}.parquet"

    def write_shard(self, table: str, shard: int | str, frame: pl.DataFrame, inputs: Mapping[str, Any]) -> WriteResult:
        """Replace a shard by the rows of `frame` that keep the table's contract; the others go to its quarantine.

        `inputs` (fingerprints, logic versions, parameters; anything JSON takes) is stored in the file. A frame of
        another shape than the table's, or with a patient of another shard, raises a ContractError and writes nothing.
        """
        name = _name(shard)
        _check_place(table, name, sharded=True)
        strangers = [p for p in frame.get_column("patient_id").unique().drop_nulls() if _shard_of(p) != name]
        if strangers:
            raise schemas.ContractError(
                f"table {table}, shard {name}: expected patients of this shard, got {listed(sorted(strangers), 3)} "
                f"(patient {min(strangers)} belongs to shard {_shard_of(min(strangers))})"
            )
        return self._write(table, name, frame, inputs)

    def write_table(self, table: str, frame: pl.DataFrame, inputs: Mapping[str, Any] | None = None) -> WriteResult:
        """Replace a whole (not sharded) table; see `write_shard`."""
        _check_place(table, WHOLE, sharded=False)
        return self._write(table, WHOLE, frame, inputs or {})

    def _write(self, table: str, shard: str, frame: pl.DataFrame, inputs: Mapping[str, Any]) -> WriteResult:
        good, bad = schemas.validate(table, frame)
        # The quarantine goes first: a crash between the two may show a row twice, but never loses one.
        self._write_quarantine(table, shard, bad, inputs)
        data, digest = encode(table, shard, good, inputs, n_quarantined=bad.height)
        path = self.path(table, shard)
        changed = places.replace_bytes(path, data)
        if table in FORMER_NAMES:
            self._remove_former(table, shard)
        broken = bad.get_column("broken").str.split("; ").explode().value_counts().sort("broken")
        return WriteResult(path, good.height, bad.height, dict(broken.iter_rows()), digest, changed)

    def _former_path(self, table: str, shard: str) -> StoragePath:
        """Where a shard lay before its table was renamed."""
        return self.root / FORMER_NAMES[table] / f"{shard}.parquet"

    def _remove_former(self, table: str, shard: str) -> None:
        former = self._former_path(table, shard)
        places.remove(former)
        places.remove(self.root / "quarantine" / f"{FORMER_NAMES[table]}-{shard}.parquet")
        with contextlib.suppress(OSError):  # No such folder, or shards in it that were not curated since.
            if isinstance(former, Path):
                former.parent.rmdir()

    def _write_quarantine(self, table: str, shard: str, bad: pl.DataFrame, inputs: Mapping[str, Any]) -> None:
        path = self.quarantine_path(table, shard)
        if bad.is_empty():
            places.remove(path)
            return
        rows = [
            {
                "table": table,
                "shard": shard,
                "rules": row["broken"],
                "exam_id": _words(row.get("exam_id")),
                "patient_id": _words(row.get("patient_id")),
                "row_json": json.dumps(
                    {k: v for k, v in row.items() if k != "broken"}, default=str, ensure_ascii=False
                ),
            }
            for row in bad.iter_rows(named=True)
        ]
        kept, broken = schemas.validate("quarantine", schemas.frame("quarantine", rows))
        if not broken.is_empty():
            raise LakeError(
                f"table {table}, shard {shard}: rows could not be quarantined: {listed(broken['broken'].to_list(), 3)}"
            )
        places.replace_bytes(path, encode("quarantine", f"{table}-{shard}", kept, inputs)[0])

    def quarantine_path(self, table: str, shard: int | str = WHOLE) -> StoragePath:
        """File of a shard's rows that broke the contract; no file where none did."""
        return self.root / "quarantine" / f"{table}-{_name(shard)}.parquet"

    def shard_meta(self, table: str, shard: int | str = WHOLE) -> ShardMeta | None:
        """Metadata of a shard, None where there is no such file; an unusable file raises a LakeError.

        A file of an older schema counts as missing, so that its asset computes it again.
        """
        path = self.path(table, shard)
        return _meta_of_today(path, table, _name(shard)) if places.exists(path) else None

    def has_shard(self, table: str, shard: int | str = WHOLE) -> bool:
        """Whether a shard of a table was ever written."""
        return places.exists(self.path(table, shard))

    def shard_inputs(self, table: str, shard: int | str = WHOLE) -> dict[str, Any] | None:
        """The inputs that a shard was written with, None where it was never written."""
        meta = self.shard_meta(table, shard)
        return None if meta is None else dict(meta.inputs)

    def shard_version(self, table: str, shard: int | str = WHOLE) -> str | None:
        """Digest of a shard's rows, None where it was never written: equal rows, equal version."""
        meta = self.shard_meta(table, shard)
        return None if meta is None else meta.rows_digest

    def read_shard(self, table: str, shard: int | str) -> pl.DataFrame:
        """Rows of a shard, none where it was never written; an unusable file raises a LakeError that says what to
        do.
        """
        name = _name(shard)
        _check_place(table, name, sharded=True)
        path = self.path(table, name)
        meta = _meta_of_today(path, table, name) if places.exists(path) else None
        return _rows(path, table, name) if meta and meta.n_rows else schemas.empty(table)

    def read_for_reuse(self, table: str, shard: int | str) -> tuple[pl.DataFrame, dict[str, Any]]:
        """(rows, inputs) that a shard was last written with, for the next writer; none where it never was.

        Columns that were added since and are nullable come as null; a shard of a schema that differs in more counts as
        never written.
        """
        name = _name(shard)
        _check_place(table, name, sharded=True)
        path, stored_as = self.path(table, name), table
        if not places.exists(path) and table in FORMER_NAMES:
            path, stored_as = self._former_path(table, name), FORMER_NAMES[table]
        if not places.exists(path):
            return schemas.empty(table), {}
        meta = _meta_of_today(path, table, name, stored_as)
        return (schemas.empty(table), {}) if meta is None else (_rows(path, table, name), dict(meta.inputs))

    def read_table(self, table: str) -> pl.DataFrame:
        """Rows of a whole table, or of all shards of a sharded one (and all of the quarantine), in the order of the
        shards.
        """
        return self.scan_table(table).collect()

    def scan_table(self, table: str) -> pl.LazyFrame:
        """The same lazily; every file's contract is checked before anything is read."""
        files = self.files(table)
        local = [path for path in files if isinstance(path, Path)]
        if len(local) < len(files):
            return pl.concat([_rows(path, table, path.stem) for path in files]).lazy()
        types = schemas.types_of(table)
        found = pl.scan_parquet(local, glob=False, schema=types, missing_columns="insert") if local else None
        return schemas.empty(table).lazy() if found is None else found

    def files(self, table: str) -> list[StoragePath]:
        """Files of a table, in the order of their shards, each of the schema of today; an unusable one raises a
        LakeError.
        """
        schemas.schema_of(table)
        folder = self.root / table
        found = places.parquet_files(folder)
        known = SHARD_NAMES if table in schemas.SHARDED else (WHOLE,)
        foreign = [] if table == "quarantine" else [p.name for p in found if p.stem not in known]
        if foreign:
            raise LakeError(
                f"{folder}: expected {f'shards 00..{SHARD_NAMES[-1]}' if table in schemas.SHARDED else 'all.parquet'}, "
                f"got {listed(foreign, 3)}: move foreign files out of the lake"
            )
        return [path for path in found if _meta_of_today(path, table, path.stem) is not None]


def encode(
    table: str, shard: str, frame: pl.DataFrame, inputs: Mapping[str, Any], n_quarantined: int = 0
) -> tuple[bytes, str]:
    """(bytes, digest) of a Parquet file of a validated frame: rows sorted by key, metadata in the footer, no time
    anywhere.
    """
    ordered = frame.sort(schemas.key_of(table), maintain_order=True, nulls_last=True)
    sink = io.BytesIO()
    arrow = ordered.to_arrow()
    with pq.ParquetWriter(sink, arrow.schema, compression="zstd") as writer:
        writer.write_table(arrow, row_group_size=_ROW_GROUP_ROWS)
        # Up to here the sink holds pages only; their hash can still go into the footer.
        digest = hashlib.sha256(sink.getbuffer()).hexdigest()
        rows = f"{table} {schemas.version_of(table)} {ordered.height} {digest}"
        digest = hashlib.sha256(rows.encode()).hexdigest()[:32]
        words = _inputs_words(inputs)
        meta = {
            "table": table,
            "shard": shard,
            "n_rows": ordered.height,
            "n_quarantined": n_quarantined,
            "n_shards": N_SHARDS,
            "schema": json.dumps(schemas.signature_of(table), sort_keys=True),
            **words,
            "inputs_hash": _hash(words),
            "rows_digest": digest,
        }
        writer.add_key_value_metadata({_META + key: str(value) for key, value in meta.items()})
    return sink.getvalue(), digest


def inputs_hash(inputs: Mapping[str, Any]) -> str:
    """What `ShardMeta.inputs_hash` is of a shard written with these inputs."""
    return _hash(_inputs_words(inputs))


@functools.lru_cache(maxsize=1 << 16)
def _shard_of(patient_id: str) -> str:
    """Name of the shard of a patient, remembered: each table of a shard has the same patients."""
    return shard_name(shard_of(patient_id))


def _hash(words: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in words.items():
        digest.update(f"{name}\n{text}\n".encode())
    return digest.hexdigest()[:32]


def _inputs_words(inputs: Mapping[str, Any]) -> dict[str, str]:
    """JSON of the inputs, by name of the footer's entry."""
    common = {name: value for name, value in inputs.items() if name not in _BY_EXAM}
    parts = {_INPUTS: common} | {_INPUTS_OF + name: inputs[name] for name in _BY_EXAM if name in inputs}
    return {name: json.dumps(part, sort_keys=True, default=str, check_circular=False) for name, part in parts.items()}


@functools.lru_cache(maxsize=1024)
def _footer(path: StoragePath, signature: tuple[object, ...] | None) -> ShardMeta:
    """What a file says of itself, remembered for as long as its signature stays: a pass over the lake asks for each
    shard's footer many times.
    """
    source = path if isinstance(path, Path) else io.BytesIO(places.read_bytes(path))
    footer = pq.read_metadata(source)
    entries = {k.decode(): v for k, v in (footer.metadata or {}).items() if k.startswith(_META.encode())}
    raw = {name.removeprefix(_META): value for name, value in entries.items()}
    return ShardMeta(
        table=raw["table"].decode(),
        shard=raw["shard"].decode(),
        n_rows=int(raw["n_rows"]),
        n_quarantined=int(raw["n_quarantined"]),
        n_shards=int(raw["n_shards"]),
        schema=json.loads(raw.get("schema", b"{}")),
        inputs=_StoredInputs(raw),
        inputs_hash=raw["inputs_hash"].decode(),
        rows_digest=raw["rows_digest"].decode(),
    )


def read_meta(path: StoragePath, table: str, shard: str) -> ShardMeta:
    """Metadata of a file that must be this shard of this table, of this number of shards and no newer schema; else a
    LakeError.
    """
    try:
        meta = _footer(path, places.signature(path))
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise LakeError(_unusable(path, table, shard, f"no whole Parquet file ({first_line(error)})")) from error
    except (KeyError, ValueError) as error:
        raise LakeError(
            _unusable(path, table, shard, f"a Parquet file that this project did not write ({error_reason(error)})")
        ) from error
    if (meta.table, meta.shard) != (table, shard):
        raise LakeError(_unusable(path, table, shard, f"shard {meta.shard} of table {meta.table}"))
    if meta.n_shards != N_SHARDS:
        raise LakeError(
            f"{path}: expected a lake of {N_SHARDS} shards, got one of {meta.n_shards}: curate into a new PETAR_HOME, "
            "or use the version of the code that wrote it"
        )
    return meta


def _meta_of_today(path: StoragePath, table: str, shard: str, stored_as: str | None = None) -> ShardMeta | None:
    """Metadata of a file; None where its schema is another one than today's, which is logged once for a table.

    `stored_as`: the table's former name, where the file still has that.
    """
    meta = read_meta(path, stored_as or table, shard)
    if schemas.is_readable(meta.schema, table):
        return meta
    if str(path.parent) not in _LOGGED:
        _LOGGED.add(str(path.parent))
        log.warning("table %s: its schema has changed; its files are computed again by the next curation", table)
    return None


_LOGGED: set[str] = set()
"""Folders of tables whose change of schema was logged."""


def _rows(path: StoragePath, table: str, shard: str) -> pl.DataFrame:
    signature = places.signature(path)
    return _read_rows(path, table, shard) if signature is None else _kept_rows(path, signature, table, shard)


@functools.lru_cache(maxsize=8)
def _kept_rows(path: StoragePath, signature: tuple[object, ...], table: str, shard: str) -> pl.DataFrame:
    """Rows of a file, remembered for as long as its signature stays: each stage of a shard reads the tables below."""
    return _read_rows(path, table, shard)


def _read_rows(path: StoragePath, table: str, shard: str) -> pl.DataFrame:
    try:
        return _in_columns_of_today(pl.read_parquet(places.read_bytes(path)), table)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LakeError(_unusable(path, table, shard, f"it can not be read ({first_line(error)})")) from error


def _in_columns_of_today(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    types = schemas.types_of(table)
    if list(frame.schema.items()) == list(types.items()):
        return frame
    columns = [pl.col(c).cast(t) if c in frame.columns else pl.lit(None, t).alias(c) for c, t in types.items()]
    return frame.select(columns)


def _unusable(path: StoragePath, table: str, shard: str, got: str) -> str:
    what = f"table {table}" if shard == WHOLE else f"shard {shard} of table {table}"
    return f"{path}: expected {what}, got {got}: delete the file and materialise {what} again"


def _check_place(table: str, shard: str, *, sharded: bool) -> None:
    schemas.schema_of(table)
    if sharded and (table not in schemas.SHARDED or shard not in SHARD_NAMES):
        raise LakeError(
            f"expected a shard 00..{SHARD_NAMES[-1]} of {', '.join(schemas.SHARDED)}, got shard {shard} of {table}"
        )
    if not sharded and table in schemas.SHARDED:
        raise LakeError(f"expected a whole table, got {table}, which is in shards: use write_shard")


def _name(shard: int | str) -> str:
    return shard_name(shard) if isinstance(shard, int) else shard


def _words(value: Any) -> str | None:
    return None if value is None else str(value)
