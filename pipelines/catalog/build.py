"""The catalog: petar.duckdb, views over a frozen state of the lake, swapped in whole and opened read-only by everybody.

A build links the lake's files into `PETAR_HOME/versions/<version>/` (hard links: no copy, and a file replaced later in
the lake stays here as it was; of a lake in an object store it holds copies) and makes the views over those. So a
reader never meets half of a curation, and an older version can be opened as long as it is kept. Parquet is the truth;
everything under `versions` and `petar.duckdb` can be made again.
"""

import contextlib
import filecmp
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from pipelines.catalog import column_lineage as lineage
from pipelines.catalog.diff import COLUMNS as DIFF_COLUMNS
from pipelines.catalog.diff import curation_diff
from pipelines.catalog.versions import (
    POINTING,
    VersionError,
    file_sha256,
    frozen_files,
    is_pinned,
    prune,
    read_history,
    read_manifest,
    resolve_version,
    under_home_macro,
    version_folder,
    versions_lock,
    write_history,
    write_manifest,
)
from pipelines.tables import atomic, schemas
from pipelines.tables.errors import first_line
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, LakeError, ShardMeta, read_meta
from pipelines.tables.storage_paths import StoragePath, read_bytes
from pipelines.tables.suggestions import suggestion

CATALOG_NAME = "petar.duckdb"
SQL_DIR = Path(__file__).resolve().parents[2] / "sql"
KEPT_VERSIONS = 10
"""Versions that stay when newer ones come, beside those that something points to. Readers that hold an older catalog
open need its files.
"""

_DUCKDB_STORAGE = "v1.0.0"  # The oldest format: what any DuckDB that people have at hand can open.
_TYPES = {pl.String: "VARCHAR", pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.Boolean: "BOOLEAN"}
_VIEW_FILE = re.compile(r"\d+_([a-z][a-z0-9_]*)\.sql")


class CatalogError(RuntimeError):
    """A catalog that can not be built or opened; the message says what to do."""


@dataclass(frozen=True)
class CatalogSummary:
    """What a build made."""

    path: Path
    version: str
    previous: str | None
    tables: Mapping[str, int]
    """Rows of every table of the lake."""
    rows: Mapping[str, int]
    """Rows of every view, in the views' order."""
    n_files: int
    diff: pl.DataFrame
    """Lesions that came, went and changed since `compared`; see `diff.curation_diff`."""
    compared: str | None
    """The last version of another curation; versions since then differ in tables made of it."""
    pruned: tuple[str, ...]
    """Versions that were taken away."""

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views."""
        return tuple(self.rows)


def build_catalog(home: Home, sql_dir: Path = SQL_DIR, keep: int = KEPT_VERSIONS) -> CatalogSummary:
    """Build PETAR_HOME/petar.duckdb over the lake as it is now, swap it in, and say what is in it.

    `sql_dir`/views/NN_name.sql hold one SELECT each, in the order of their numbers. A table with no files is an empty
    typed relation. An unusable file of the lake raises a LakeError, a view that does not run a CatalogError; the old
    catalog stays then.
    """
    home = home.resolved()
    views = _view_files(sql_dir)
    lake = Lake(home.lake)
    with versions_lock(home):
        metas = {
            table: [(path, read_meta(path, table, path.stem)) for path in lake.files(table)] for table in schemas.TABLES
        }
        version = _version(home, metas, views)
        folder = home.versions / version
        history = [v for v in read_history(home) if v != version]
        previous = history[-1] if history else None
        files = _freeze(metas, folder, version_folder(home, previous) if previous else None)
        write_manifest(home, version, {t: list(zip(files[t], (m for _, m in found))) for t, found in metas.items()})
        compared = _last_other_curation(home, history, version)
        before = frozen_files(home, compared) if compared else {}
        diff = curation_diff(before, files)
        diff_file = _write_diff(folder, diff, compared)
        pointing = [
            (table, found[0][1].inputs.get("curation")) for table, found in metas.items() if table in POINTING and found
        ]
        tables = _catalog_rows(metas)
        data = _database(home, views, _Content(version, files, tables, compared, before, diff_file, pointing))
        if not is_pinned(folder):
            atomic.write_bytes(folder / CATALOG_NAME, data)
        atomic.write_bytes(home.catalog, data)
        write_history(home, [*history, version])
        pruned = prune(home, keep)
    with connect(home) as con:
        rows = {name: con.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name, _ in views}
    return CatalogSummary(
        home.catalog,
        version,
        previous,
        {table: sum(meta.n_rows for _, meta in found) for table, found in metas.items()},
        rows,
        sum(len(found) for found in metas.values()),
        diff,
        compared,
        tuple(pruned),
    )


def connect(home: Home | Path | str, version: str | None = None) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the current catalog, or to a kept version of it (by its hash or the name it was
    accepted under); a CatalogError says what to do where there is none. `home`: PETAR_HOME, also as a path.
    """
    home = (home if isinstance(home, Home) else Home(Path(home))).resolved()
    if version is None:
        history = read_history(home)
        # The copy inside the version has a path of its own: DuckDB hands out the old database for a path that is still
        # open in this process, and a stranger who holds petar.duckdb for writing locks that file only.
        path = home.versions / history[-1] / CATALOG_NAME if history else home.catalog
        path = path if path.exists() else home.catalog
    else:
        try:
            path = version_folder(home, resolve_version(home, version)) / CATALOG_NAME
        except VersionError as error:
            raise CatalogError(str(error)) from error
    if not path.exists():
        raise CatalogError(f"expected a catalog at {path}, got no such file: materialise `catalog` (make curate)")
    try:
        return duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        reason = first_line(error)
        remedy = (
            "close the process that holds it for writing (everybody else opens it read-only)"
            if "lock" in reason.lower()
            else "delete it and materialise `catalog` again; the lake is untouched"
        )
        raise CatalogError(
            f"{path}: expected a catalog that can be opened read-only, got: {reason}: {remedy}"
        ) from error


def list_queries(sql_dir: Path = SQL_DIR) -> dict[str, str]:
    """Name of every query of sql/queries and the comment that explains it."""
    return {path.stem: _comment(path.read_text()) for path in sorted((sql_dir / "queries").glob("*.sql"))}


def list_views(sql_dir: Path = SQL_DIR) -> dict[str, str]:
    """Name of every view of sql/views, in their order, and the comment that explains it."""
    return {name: _comment(sql) for name, sql in _view_files(sql_dir)}


def run_query(home: Home, name: str, sql_dir: Path = SQL_DIR, version: str | None = None) -> pl.DataFrame:
    """Result of sql/queries/NAME.sql on the catalog; an unknown name raises a CatalogError that lists the known
    ones.
    """
    path = sql_dir / "queries" / f"{name}.sql"
    if name not in (known := list_queries(sql_dir)):
        listed = f": {path.parent} has {', '.join(known)}"
        raise CatalogError(f"expected a query, got {name!r}{suggestion(name, known, listed)}")
    with connect(home, version) as con:
        try:
            return con.sql(path.read_text()).pl()
        except duckdb.Error as error:
            raise CatalogError(f"query {name}: {first_line(error)}: {_remedy(error, path)}") from error


def _remedy(error: duckdb.Error, path: Path) -> str:
    """What to do about a query that failed: its data may be damaged, or the query wrong."""
    damaged = re.search(r"'([^']+\.parquet)'", str(error))
    if damaged and not isinstance(error, duckdb.IOException):
        return f"the file is damaged: delete {damaged[1]}, and the same one in the lake, and curate again (make curate)"
    return "materialise `catalog` again" if isinstance(error, duckdb.IOException) else f"fix {path}"


@dataclass(frozen=True)
class PublishedDiff:
    """Rows of a diff, and the versions that it compares; `before` is null where there was none."""

    rows: pl.DataFrame
    before: str | None
    now: str


def published_diff(home: Home, against: str = "") -> PublishedDiff:
    """What changed in the published version since `against` (a version or an accepted name; empty: the last version
    whose curated rows are others).

    Raises:
        VersionError: no such version, or nothing is published.
    """
    home = home.resolved()
    history = read_history(home)
    if not history:
        raise VersionError(f"expected a published curation in {home}, got none: materialise `catalog` first")
    now = history[-1]
    before = resolve_version(home, against) if against else _last_other_curation(home, history[:-1], now)
    rows = curation_diff(frozen_files(home, before) if before else {}, frozen_files(home, now))
    return PublishedDiff(rows, before, now)


def _last_other_curation(home: Home, history: Sequence[str], version: str) -> str | None:
    """The newest version of `history` whose curated rows are others than this version's; None where there is none."""
    curation = read_manifest(home, version)["curation"]
    for other in reversed(history):
        # A version of before manifests named the curation is passed over.
        if read_manifest(home, other).get("curation", curation) != curation:
            return other
    return None


def _view_files(sql_dir: Path) -> list[tuple[str, str]]:
    """(name, SQL) of every view in the order of the files' numbers."""
    found = []
    for path in sorted((sql_dir / "views").glob("*.sql")):
        match = _VIEW_FILE.fullmatch(path.name)
        if match is None:
            raise CatalogError(f"{path}: expected a view's file to be named NN_name.sql: rename it")
        found.append((match[1], path.read_text()))
    if not found:
        raise CatalogError(f"expected views under {sql_dir / 'views'}, got none: pass the folder sql of the project")
    return found


def _version(
    home: Home, metas: Mapping[str, Sequence[tuple[StoragePath, ShardMeta]]], views: Sequence[tuple[str, str]]
) -> str:
    """Twelve hex digits of the rows, the views and the place: equal content, equal version."""
    rows = {table: {meta.shard: meta.rows_digest for _, meta in found} for table, found in metas.items()}
    content = json.dumps(
        [str(home.root), [schemas.version_of(t) for t in schemas.TABLES], rows, list(views)], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _freeze(
    metas: Mapping[str, Sequence[tuple[StoragePath, ShardMeta]]], folder: Path, before: Path | None
) -> dict[str, list[Path]]:
    """Files of every table inside a version's folder, linked there.

    Of a lake in an object store they are copied, so that readers need this machine's disk and nothing else; what the
    version `before` holds already is linked from there.
    """
    files: dict[str, list[Path]] = {}
    sealed = _sealed(folder)
    for table, found in metas.items():
        files[table] = []
        for path, meta in found:
            target = folder / "lake" / table / path.name
            if target.exists() and sealed.get((table, meta.shard)) == file_sha256(target):
                # Equal rows: a version that is there stays, to the byte, what it is.
                files[table].append(target)
                continue
            source = path if isinstance(path, Path) else _held(meta, before)
            if source is None:
                atomic.write_bytes(target, read_bytes(path))
            files[table].append(target if source is None else _link(source, target))
        if found:
            atomic.flush(folder / "lake" / table)  # Once: a flush for each of hundreds of links costs seconds.
    return files


def _sealed(folder: Path) -> dict[tuple[str, str], str]:
    """Hash of each file that a version holds, by table and shard, as its manifest says; none where it has none."""
    path = folder / "manifest.json"
    tables = json.loads(path.read_text()).get("tables", {}) if path.exists() else {}
    return {(table, shard): one["sha256"] for table, shards in tables.items() for shard, one in shards.items()}


def _held(meta: ShardMeta, version: Path | None) -> Path | None:
    """The file of a shard in a version, where it is exactly the one that says `meta` of itself."""
    path = version / "lake" / meta.table / f"{meta.shard}.parquet" if version else None
    if path is None or not path.exists():
        return None
    try:
        return path if read_meta(path, meta.table, meta.shard) == meta else None
    except LakeError:
        return None


def _link(source: Path, target: Path) -> Path:
    """The target, which now holds what the source does: by hard link, or copied where the file system has none.

    The folder is left to be flushed by who links its last file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.link(source, target)
        return target
    # Equal versions have equal rows, but the file that is there may have been damaged in place since.
    if target.exists() and (target.samefile(source) or filecmp.cmp(source, target, shallow=False)):
        return target
    with atomic.replacing(target) as temp:
        temp.unlink()
        try:
            os.link(source, temp)
        except OSError:
            shutil.copyfile(source, temp)
    return target


def _catalog_rows(metas: Mapping[str, Sequence[tuple[StoragePath, ShardMeta]]]) -> list[tuple[str, int, int, int, str]]:
    return [
        (
            table,
            sum(meta.n_rows for _, meta in found),
            len(found),
            sum(meta.n_quarantined for _, meta in found),
            schemas.describe_table(table),
        )
        for table, found in metas.items()
    ]


def _write_diff(folder: Path, diff: pl.DataFrame, compared: str | None) -> Path:
    """The file that now holds the diff. It is named after what the version is compared with: an earlier catalog of the
    same version, compared with another, keeps its own.
    """
    # A file, as the lake's: a million rows inside petar.duckdb would be written once for each copy of it.
    path = folder / f"curation_diff-{compared or 'first'}.parquet"
    sink = io.BytesIO()
    diff.write_parquet(sink, compression="zstd", compression_level=1)
    atomic.write_bytes(path, sink.getvalue())
    return path


@dataclass(frozen=True)
class _Content:
    """What a catalog shows of a version, and of the one that it is compared with."""

    version: str
    files: Mapping[str, Sequence[Path]]
    tables: Sequence[tuple[str, int, int, int, str]]
    """Rows of the data dictionary: name, rows, shards, quarantined rows, description."""
    compared: str | None
    files_compared: Mapping[str, Sequence[Path]]
    diff_file: Path
    pointing: Sequence[tuple[str, str | None]]
    """(table, curation that it was computed from)."""


def _database(home: Home, views: Sequence[tuple[str, str]], content: _Content) -> bytes:
    """Bytes of a DuckDB file with the views: `lake` (the tables as they are), `previous` (those of the last
    version of another curation) and main.
    """
    with tempfile.TemporaryDirectory(prefix=".build-", dir=home.versions) as folder:
        path = Path(folder) / CATALOG_NAME
        with duckdb.connect() as con:
            con.execute(f"ATTACH {_quote(str(path))} AS catalog (STORAGE_VERSION '{_DUCKDB_STORAGE}')")
            con.execute("USE catalog")
            con.execute("BEGIN")  # Hundreds of comments: one flush to disk instead of hundreds.
            con.execute(under_home_macro(home.root))
            for schema, found in (("lake", content.files), ("previous", content.files_compared)):
                con.execute(f"CREATE SCHEMA {schema}")
                for table in schemas.TABLES:
                    con.execute(f"CREATE VIEW {schema}.{table} AS {_relation(table, found.get(table, ()))}")
                    if schema == "lake":
                        _comment_on(con, f"lake.{table}", schemas.describe_table(table), _column_comments([table]))
            for name, sql in views:
                _create_view(con, name, sql)
            _dictionary(con, content.tables, content.version)
            _provenance(con, content.diff_file, content.compared, content.pointing)
            con.execute("COMMIT")
        return path.read_bytes()


def _relation(table: str, files: Sequence[Path]) -> str:
    """SELECT over the files by absolute path, or of no rows with the right types."""
    columns = ", ".join(f'CAST(NULL AS {_TYPES[type(t)]}) AS "{c}"' for c, t in schemas.types_of(table).items())
    none = f"SELECT {columns} WHERE false"
    if not files:
        return none
    # Files that were written before a nullable column was added lack it: by name, and with no row that has it.
    found = f"read_parquet([{', '.join(_quote(str(f)) for f in files)}], union_by_name = true)"
    return f"{none} UNION ALL BY NAME SELECT * FROM {found}"


def _create_view(con: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    try:
        con.execute(f"CREATE VIEW {name} AS {sql.strip().rstrip(';')}")
    except duckdb.Error as error:
        raise CatalogError(f"view {name}: {first_line(error)}: fix sql/views/NN_{name}.sql") from error
    sources = [t for t in lineage.tables_of_view(name) if t in schemas.TABLES]
    comments = _column_comments(sources) | dict(re.findall(r"^-- @(\w+): (.+)$", sql, re.MULTILINE))
    _comment_on(con, name, _comment(sql), comments)


def _column_comments(tables: Sequence[str]) -> dict[str, str]:
    """Comment of every column, of the first table that has it."""
    comments: dict[str, str] = {}
    for table in tables:
        for column in schemas.describe(table):
            comments.setdefault(column.name, column.description + (f" [{column.unit}]" if column.unit else ""))
    return comments


def _comment_on(con: duckdb.DuckDBPyConnection, view: str, comment: str, columns: Mapping[str, str]) -> None:
    found = [column for (column,) in con.execute(f"SELECT column_name FROM (DESCRIBE {view})").fetchall()]
    statements = [f"COMMENT ON VIEW {view} IS {_quote(comment)}"]
    statements += [f'COMMENT ON COLUMN {view}."{c}" IS {_quote(columns[c])}' for c in found if c in columns]
    con.execute(";".join(statements))


def _dictionary(con: duckdb.DuckDBPyConnection, tables: Sequence[tuple[str, int, int, int, str]], version: str) -> None:
    con.execute(
        'CREATE TABLE tables ("table" VARCHAR, n_rows BIGINT, n_files BIGINT, n_quarantined BIGINT, '
        "description VARCHAR)"
    )
    con.execute(f"INSERT INTO tables VALUES {_values(tables)}")
    con.execute("COMMENT ON TABLE tables IS 'One row a table of the lake: its rows, files and quarantined rows'")
    con.execute(
        'CREATE TABLE columns ("table" VARCHAR, "column" VARCHAR, type VARCHAR, unit VARCHAR, nullable BOOLEAN, '
        "constraints VARCHAR, description VARCHAR)"
    )
    rows = [
        (table, c.name, c.type, c.unit, c.nullable, "; ".join(c.constraints), c.description)
        for table in schemas.TABLES
        for c in schemas.describe(table)
    ]
    con.execute(f"INSERT INTO columns VALUES {_values(rows)}")
    con.execute("COMMENT ON TABLE columns IS 'The data dictionary: the contract of every column'")
    con.execute(f"CREATE VIEW version AS SELECT {_quote(version)} AS version")
    con.execute("COMMENT ON VIEW version IS 'Version of the curation that this catalog shows'")


def _provenance(
    con: duckdb.DuckDBPyConnection,
    diff_file: Path,
    compared: str | None,
    pointing: Sequence[tuple[str, str | None]],
) -> None:
    """What changed since the last other curation, and which version the tables of the model were made of."""
    con.execute(f"CREATE VIEW curation_diff AS SELECT * FROM read_parquet({_quote(str(diff_file))})")
    since = f"since version {compared}" if compared else "as there was none before"
    comments = {name: comment for name, (_, comment) in DIFF_COLUMNS.items()}
    _comment_on(con, "curation_diff", f"Lesions that came, went and changed, and why, {since}", comments)
    con.execute('CREATE TABLE provenance ("table" VARCHAR, curation VARCHAR)')
    con.execute("COMMENT ON COLUMN provenance.\"table\" IS 'Table of the model'")
    con.execute(
        "COMMENT ON COLUMN provenance.curation IS 'Curation, by the hash of its rows; null where it is not known'"
    )
    if pointing:
        con.execute(f"INSERT INTO provenance VALUES {_values(pointing)}")
    con.execute("COMMENT ON TABLE provenance IS 'Curation that a table of the model was made of'")


def _comment(sql: str) -> str:
    """The comment that a SQL file begins with, as one line, without its notes on columns."""
    lines = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        if not line.startswith("-- @"):
            lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


def _values(rows: Sequence[Sequence[object]]) -> str:
    """Rows as a list of SQL values."""
    return ", ".join(f"({', '.join(_value(v) for v in row)})" for row in rows)


def _value(value: object) -> str:
    return "NULL" if value is None else _quote(value) if isinstance(value, str) else str(value)


def _quote(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
