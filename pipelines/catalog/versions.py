"""Versions of a curation: their provenance, references to them, and which are deleted.

`PETAR_HOME/versions/<version>/` holds the tables of a version (frozen Parquet files), its catalog, and `manifest.json`:
the hash of every file, the logic and the parameters that made the rows, and the version of the code. The last ten
versions stay, and every one that something points to: a name that it was accepted under, a checkpoint, or the tables
`samples`, `predictions` and `scores`. A version that is pinned holds the volumes and masks of its exams too (hard
links: no copy while they are current), so that its folder is a home of its own: `Home(version_folder(home, version))`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipelines.cohort.manifest import read_manifest as read_shard
from pipelines.cohort.privacy.deidentification import privacy_state
from pipelines.tables import atomic, schemas
from pipelines.tables.accepted_versions import ACCEPTED_FILE, Accepted, read_accepted, version_folder
from pipelines.tables.accepted_versions import VersionError as VersionError
from pipelines.tables.curation_version import curation_version, version_of_rows
from pipelines.tables.hashing import hash_of, hash_of_files
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, LakeError, ShardMeta
from pipelines.tables.locks import lock

POINTING = ("samples", "predictions", "scores")
"""Whole tables that say which curation they were made of, in their inputs under `curation`."""

_MANIFEST, _HISTORY = "manifest.json", "history"
_ROOT = Path(__file__).resolve().parents[2]


class ProvenanceError(VersionError):
    """A checkpoint was trained on other samples than those given; the message says which and what to do."""


def read_history(home: Home) -> list[str]:
    """Kept versions, oldest first; the last one is current."""
    path = home.versions / _HISTORY
    return path.read_text().split() if path.exists() else []


def write_history(home: Home, versions: Iterable[str]) -> None:
    """Says which versions are kept, oldest first."""
    atomic.write_bytes(home.versions / _HISTORY, "".join(f"{v}\n" for v in versions).encode())


def versions_lock(home: Home) -> AbstractContextManager[None]:
    """One writer of versions at a time; a second one waits."""
    return lock(home.versions / ".lock")


# --- what a version was made of ---


def write_manifest(home: Home, version: str, files: Mapping[str, Iterable[tuple[Path, ShardMeta]]]) -> None:
    """Writes what a version is made of, from its frozen files; one that is there already keeps its time.

    Keys: version, curation, created_at, code, masked (every text of it was masked when the version was written first),
    tables (shard -> rows, digest, sha256 of the file), makers (table -> the
    logic and the parameters that made its rows, with the number of exams).
    """
    folder = version_folder(home, version)
    known = read_manifest(home, version) if (folder / _MANIFEST).exists() else {}
    tables: dict[str, Any] = {}
    makers: dict[str, Any] = {}
    metas: list[ShardMeta] = []
    for table, found in files.items():
        tables[table] = {}
        for path, meta in found:
            metas.append(meta)
            tables[table][meta.shard] = {"rows": meta.n_rows, "digest": meta.rows_digest, "sha256": file_sha256(path)}
            for made, n in _made(meta):
                counted = makers.setdefault(table, {}).setdefault(hash_of(made)[:8], {**made, "exams": 0})
                counted["exams"] += n
    manifest = {
        "version": version,
        "curation": version_of_rows(metas),
        "created_at": known.get("created_at") or datetime.now(UTC).isoformat(timespec="seconds"),
        "code": running_code(),
        "masked": known.get("masked", False) or _is_masked(home, metas),
        "makers": makers,
        "tables": tables,
    }
    atomic.write_bytes(folder / _MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())


def _is_masked(home: Home, metas: Sequence[ShardMeta]) -> bool:
    """Whether all texts were made of reports that were masked when they were observed: those of a shard that could not
    be computed since then may be older."""
    if not privacy_state(home.manifest)["mask_reports"]:
        return False
    digests = {(meta.table, meta.shard): meta.rows_digest for meta in metas}
    for meta in metas:
        stored = meta.inputs.get("inputs") or {}
        wanted: dict[str, str | None] = {}
        if meta.table in ("exams", "sentences"):
            wanted["manifest"] = read_shard(home.manifest, int(meta.shard))[0]
        elif meta.table == "findings":
            wanted["sentences"] = digests.get(("sentences", meta.shard))
            if "given" in stored:
                wanted["given"] = digests.get(("exams", meta.shard))
        has_failed = meta.table in ("sentences", "findings") and meta.inputs.get("failed")
        if has_failed or any(stored.get(name) != value for name, value in wanted.items()):
            return False
    return True


def _made(meta: ShardMeta) -> Iterator[tuple[dict[str, Any], int]]:
    """What made a shard's rows, and of how many exams."""
    makers = meta.inputs.get("makers")
    if makers:
        n_others = {key: list(makers["of"].values()).count(key) for key in makers["by_id"]}
        for key, made in makers["by_id"].items():
            n = n_others[key] if key != makers["default"] else len(meta.inputs["keys"]) - sum(n_others.values())
            if n > 0:
                yield made, n


def provenance_by_exam(metas: Iterable[ShardMeta], exam_ids: Set[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """(table, exam) -> what made the exam's rows: `logic` and `parameters`; of these exams."""
    found = {}
    for meta in metas:
        makers = meta.inputs.get("makers") or {}
        for exam_id in meta.inputs.get("keys", {}).keys() & exam_ids if makers else ():
            found[meta.table, exam_id] = makers["by_id"][makers["of"].get(exam_id, makers["default"])]
    return found


def read_manifest(home: Home, version: str) -> dict[str, Any]:
    """What a version was made of; see `write_manifest`.

    Raises:
        VersionError: it is not kept.
    """
    path = version_folder(home, version) / _MANIFEST
    if not path.exists():
        kept = ", ".join(read_history(home)) or "none; materialise `catalog`"
        raise VersionError(f"expected a kept version, got {version!r}: kept are {kept}")
    return json.loads(path.read_text())


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def running_code() -> dict[str, str]:
    """Version of the package, hash of its sources, and the commit where the sources are a checkout."""
    found = {"sources": hash_of_files([(str(p.relative_to(_ROOT)), p) for p in (_ROOT / "pipelines").rglob("*.py")])}
    with suppress(metadata.PackageNotFoundError):
        found["package"] = metadata.version("petar")
    with suppress(OSError, StopIteration):
        found["commit"] = _commit(_ROOT / ".git")
    return found


def _commit(git: Path) -> str:
    """The commit that a checkout stands at, read as git stores it."""
    if git.is_file():
        git = Path(git.read_text().removeprefix("gitdir:").strip())
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    common = (git / (git / "commondir").read_text().strip()).resolve() if (git / "commondir").exists() else git
    ref = head.removeprefix("ref: ")
    for folder in (git, common):
        if (folder / ref).exists():
            return (folder / ref).read_text().strip()
    lines = (common / "packed-refs").read_text().splitlines()
    return next(line.split(" ", 1)[0] for line in lines if line.endswith(f" {ref}"))


# --- what points to a version ---


def resolve_version(home: Home, name: str) -> str:
    """The version that a name, or the beginning of a version, means.

    Raises:
        VersionError: none, or several.
    """
    accepted = read_accepted(home)
    if name in accepted:
        return accepted[name].version
    found = [version for version in read_history(home) if version.startswith(name)] if name else []
    if len(found) != 1:
        raise VersionError(
            f"expected a kept version or an accepted name, got {name!r}: kept versions: "
            f"{', '.join(read_history(home)) or 'none'}; accepted names: {', '.join(accepted) or 'none'}"
        )
    return found[0]


def accept(home: Home, name: str, who: str, note: str = "", version: str = "") -> Accepted:
    """Accepts a version (empty: the current one) under a name, and pins it.

    Raises:
        VersionError: no name or nobody who accepts, a name that is taken by another version, no such version, or the
            lake has moved on since.
    """
    if not name.strip() or not who.strip():
        raise VersionError(f"expected a name and who accepts, got name {name!r} and who {who!r}: give both")
    history = read_history(home)
    if not history:
        raise VersionError(f"expected a published curation in {home.root}, got none: materialise `catalog` first")
    chosen = resolve_version(home, version) if version else history[-1]
    accepted = read_accepted(home)
    if name in accepted and accepted[name].version != chosen:
        raise VersionError(
            f"expected a free name, {name!r} is version {accepted[name].version} already: an accepted version never "
            "changes, choose another name"
        )
    pin(home, chosen)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    made = accepted.get(name) or Accepted(name, chosen, who, when, note)
    with versions_lock(home):
        stored = {**read_accepted(home), name: made}
        data = json.dumps({key: asdict(value) for key, value in sorted(stored.items())}, indent=1)
        atomic.write_bytes(home.versions / ACCEPTED_FILE, data.encode())
    return made


def pointers(home: Home) -> dict[str, list[str]]:
    """Version -> what points to it, in words. Checkpoints and tables name a curation: its newest version is meant."""
    found: dict[str, list[str]] = {}
    for name, one in read_accepted(home).items():
        found.setdefault(one.version, []).append(f"accepted as {name}")
    newest = {read_manifest(home, version).get("curation"): version for version in read_history(home)}
    for curation, reason in _pointed_curations(home):
        if curation in newest:
            found.setdefault(newest[curation], []).append(reason)
    return {version: list(dict.fromkeys(reasons)) for version, reasons in found.items()}


def _pointed_curations(home: Home) -> Iterator[tuple[str, str]]:
    """(curation, what points to it)."""
    lake = Lake(home.lake)
    for table in POINTING:
        with suppress(LakeError):
            meta = lake.shard_meta(table)
            if meta is not None and (curation := meta.inputs.get("curation")):
                yield curation, f"table {table}"
    checkpoints = home.checkpoints
    for path in sorted(checkpoints.rglob("model.json")) if checkpoints.is_dir() else ():
        with suppress(ValueError):
            for record in json.loads(path.read_text()).get("lineage", ()):
                if curation := record.get("curation"):
                    yield curation, f"checkpoint {path.parent.relative_to(checkpoints)}"


def pin(home: Home, version: str) -> int:
    """Links the volumes and masks of a version into its folder, and says how many; they stay as they are from then on.

    Raises:
        VersionError: the version is not kept, or the lake has moved on since, so that its files may be others now.
    """
    folder = version_folder(home, version)
    names = _files_of(folder)
    todo = [name for name in names if not (folder / name).exists()]
    if todo:
        _check_is_current(home, version)
    for name in todo:
        if (path := home.file(name)).exists():
            _link_file(path, folder / name)
    _look_inside(folder)
    return len(names)


def pin_current(home: Home) -> str:
    """The current version, pinned.

    Raises:
        VersionError: nothing is published, or the lake has moved on since.
    """
    history = read_history(home)
    if not history:
        raise VersionError(f"expected a published curation in {home.root}, got none: materialise `catalog` first")
    _check_is_current(home, history[-1])
    pin(home, history[-1])
    return history[-1]


def _check_is_current(home: Home, version: str) -> None:
    if read_manifest(home, version).get("curation") != curation_version(home):
        raise VersionError(
            f"expected version {version} to be what is curated now, the lake has moved on since: publish it "
            "(materialise `catalog`, make curate), then try again"
        )


def is_pinned(folder: Path) -> bool:
    """Whether a version's folder holds the files that its tables name."""
    return (folder / "volumes").exists() or (folder / "masks").exists()


def _files_of(folder: Path) -> list[str]:
    """Volumes and masks that a version's tables name, as paths under the home."""
    found: set[str] = set()
    for table, columns in (("exams", ("suv_path", "ct_path")), ("lesions", ("mask_path",))):
        for path in sorted((folder / "lake" / table).glob("*.parquet")):
            frame = pl.read_parquet(path, columns=list(columns), glob=False)
            for column in columns:
                found.update(frame[column].drop_nulls())
    return sorted(name for name in found if not Path(name).is_absolute())


def _link_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        with atomic.replacing(target) as temp:
            shutil.copyfile(source, temp)


def _look_inside(folder: Path) -> None:
    """Has a version's catalog name the files in the version's own folder."""
    path = folder / "petar.duckdb"
    if not path.exists():
        return
    with atomic.replacing(path) as temp:
        shutil.copyfile(path, temp)
        with duckdb.connect(str(temp)) as con:
            con.execute(under_home_macro(folder))


def under_home_macro(folder: Path) -> str:
    """SQL of the macro that makes a path of the lake absolute."""
    quoted = str(folder).replace("'", "''")
    return (
        "CREATE OR REPLACE MACRO under_home(p) AS CASE WHEN p IS NULL OR starts_with(p, '/') THEN p "
        f"ELSE '{quoted}/' || p END"
    )


# --- which versions and files may go ---


def prune(home: Home, keep: int) -> list[str]:
    """Takes away the versions but the last `keep` and those that something points to, and says which went."""
    history = read_history(home)
    pointed = pointers(home)
    kept = [v for n, v in enumerate(history) if n >= len(history) - max(keep, 2) or v in pointed]
    write_history(home, kept)
    gone = []
    for path in (home.versions).iterdir():
        if path.is_dir() and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
            gone.append(path.name)
    return gone


def frozen_files(home: Home, version: str) -> dict[str, list[Path]]:
    """The Parquet files of a version by table."""
    lake = Lake(version_folder(home, version) / "lake")
    return {table: [path for path in lake.files(table) if isinstance(path, Path)] for table in schemas.TABLES}
