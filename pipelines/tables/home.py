"""The folders below PETAR_HOME."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines.tables import atomic
from pipelines.tables.file_store import FileStore
from pipelines.tables.hashing import hash_of
from pipelines.tables.storage_paths import StoragePath, is_url, storage_path_of

_NO_FILE_NAME = re.compile(r'[\x00-\x1f/\\%:*?"<>|\x7f\ud800-\udfff]')
LONGEST_NAME_BYTES = 200
"""Of a file's or folder's name; file systems take 255, and a suffix or a temporary name is added to it."""


def folder_name(exam_id: str) -> str:
    """Name of an exam's folder: its id, with what no file system takes, or what would lead out of the folder above, as
    %XX; a longer one is cut and ends with a hash of the id.
    """
    if not exam_id.strip("."):
        name = exam_id.replace(".", "%2E")
    else:
        name = _NO_FILE_NAME.sub(lambda match: f"%{ord(match[0]):02X}", exam_id)
    data = name.encode()
    if len(data) <= LONGEST_NAME_BYTES:
        return name
    digest = hash_of(exam_id)
    return f"{data[: LONGEST_NAME_BYTES - len(digest) - 1].decode(errors='ignore')}~{digest}"


_LAKE_NAME, _LAKE_POINTER = "lake", "lake.url"
_FILES_POINTER = "files.url"
_OF_FILES = ("volumes", "masks", "likelihoods", "checkpoints")
"""Folders of a home that lie in its store of files, where it has one."""


class HomeError(ValueError):
    """A PETAR_HOME that cannot be used as configured; the message says what to do."""


@dataclass(frozen=True)
class Home:
    """The folders below PETAR_HOME. Folders are created when they are written to."""

    root: Path

    @property
    def lake(self) -> StoragePath:
        """Parquet tables, one folder a table: in the home, or at the place that PETAR_LAKE named first."""
        pointer = self.root / _LAKE_POINTER
        return storage_path_of(pointer.read_text().strip()) if pointer.exists() else self.root / _LAKE_NAME

    def check_writable(self) -> None:
        """Nothing where the home is a folder that can be written to, or can be made.

        Raises:
            HomeError: it is no such folder.
        """
        there = next(path for path in (self.root.absolute(), *self.root.absolute().parents) if os.path.lexists(path))
        if not there.is_dir():
            kind = "a link that leads nowhere" if there.is_symlink() else "a file"
            raise HomeError(f"expected a folder to write to, got {self.root}, for {there} is {kind}: name another home")
        if not os.access(there, os.W_OK | os.X_OK):
            raise HomeError(
                f"expected a folder to write to, got {self.root}, for {there} must not be written to: change its "
                "rights, or name another home"
            )

    def resolved(self) -> "Home":
        """The same home by its absolute path."""
        return Home(self.root.resolve())

    @property
    def volumes(self) -> Path:
        """One folder an exam: SUV.nii and CT.nii, RAS+, uncompressed."""
        return self.root / "volumes"

    @property
    def masks(self) -> Path:
        """One folder an exam: a cropped mask per lesion."""
        return self.root / "masks"

    @property
    def manifest(self) -> Path:
        """The last observation of the cohort and the fingerprints by file state."""
        return self.root / "manifest"

    @property
    def links(self) -> Path:
        """Beside the home, where exams go by hashed ids: links of these names to the exams' folders. Not to be handed
        out with the home.
        """
        return self.root.with_name(f"{self.root.name}.links")

    @property
    def secret(self) -> Path:
        """Beside the home, where reports are masked without a key: what dates are moved by. Not to be handed out."""
        return self.root.with_name(f"{self.root.name}.secret")

    @property
    def likelihoods(self) -> Path:
        """Of each shard the sums that a calibration is made of."""
        return self.root / "likelihoods"

    @property
    def checkpoints(self) -> Path:
        """One folder a training stage."""
        return self.root / "checkpoints"

    @property
    def exports(self) -> Path:
        """One folder an exam: its lesions for viewers."""
        return self.root / "exports"

    @property
    def exam_reports(self) -> Path:
        """One folder an exam: its draft report."""
        return self.root / "exam_reports"

    @property
    def gallery(self) -> Path:
        """The review pages, which open from disk."""
        return self.root / "gallery"

    @property
    def overview(self) -> Path:
        """The state of the cohort on one page, which opens from disk."""
        return self.root / "overview.html"

    @property
    def reviews(self) -> Path:
        """Files of answers that reviewers saved."""
        return self.root / "reviews"

    @property
    def texts(self) -> Path:
        """Texts of each model on held-out lesions, a file a source."""
        return self.root / "texts"

    @property
    def predictions(self) -> Path:
        """Predictions of other models, provided as files."""
        return self.root / "predictions"

    @property
    def external(self) -> Path:
        """The external set: volumes, masks and its review pages."""
        return self.root / "external"

    @property
    def robustness(self) -> Path:
        """Changed masks and the curve of scores against them."""
        return self.root / "robustness"

    @property
    def reader_study(self) -> Path:
        """The reader study: sheets, key, ratings, results."""
        return self.root / "reader_study"

    @property
    def servers(self) -> Path:
        """Addresses of language models' servers that jobs of a cluster started, a file a server."""
        return self.root / "servers"

    @property
    def answers(self) -> Path:
        """Answers of language models, kept so that nothing is asked twice."""
        return self.root / "answers.sqlite"

    @property
    def catalog(self) -> Path:
        """The DuckDB file that people query."""
        return self.root / "petar.duckdb"

    @property
    def versions(self) -> Path:
        """One folder a kept version of the curation."""
        return self.root / "versions"

    @property
    def unpublished(self) -> Path:
        """What became of the exams that were computed since the last publication, a file a shard."""
        return self.root / "unpublished"

    @property
    def batches(self) -> Path:
        """One folder a submission to a cluster: its scripts, its logs, and what became of each shard."""
        return self.root / "batches"

    @property
    def checked(self) -> Path:
        """Files that passed the quality checks, so that they are not opened again."""
        return self.root / "checked"

    def volume_folder(self, exam_id: str) -> Path:
        """Folder of one exam's volumes."""
        return self.volumes / folder_name(exam_id)

    def mask_folder(self, exam_id: str) -> Path:
        """Folder of one exam's masks."""
        return self.masks / folder_name(exam_id)

    def is_kept(self, path: str | None) -> bool:
        """Whether an earlier row can stand for a new one: the file that it names, below the home, is there; one that
        names none can.
        """
        return path is None or self.file(path).is_file()

    @property
    def files(self) -> FileStore | None:
        """Where volumes, masks, likelihoods and checkpoints lie if not in the home alone: at the place that PETAR_FILES
        named first.
        """
        pointer = self.root / _FILES_POINTER
        return FileStore(self.root, storage_path_of(pointer.read_text().strip())) if pointer.exists() else None

    def file(self, path: str | Path) -> Path:
        """Absolute path of a volume, mask or the like, to be read: what the home's store of files holds is there.

        Args:
            path: relative to the home, as rows name it, or absolute.
        """
        store, absolute = self.files, self.root / path
        return absolute if store is None else store.fetch(absolute)

    def holds(self, path: str | Path) -> bool:
        """Whether a file, as `file` takes it, is there and not empty, here or in the home's store of files."""
        absolute = self.root / path
        if absolute.is_file() and absolute.stat().st_size > 0:
            return True
        return (store := self.files) is not None and store.holds(absolute)

    def folder(self, path: Path) -> Path:
        """A folder of checkpoints or the like, to be read: what the home's store of files holds is there."""
        store = self.files
        return path if store is None else store.fetch_folder(path)

    def checkpoint(self, stage: str) -> Path:
        """Checkpoint of a training stage, to be read: what the home's store of files holds is there."""
        return self.folder(self.checkpoints / stage) / "checkpoint"

    def keep(self, path: Path) -> Path:
        """The same path, once the file or folder that was written there lies in the home's store of files too."""
        if (store := self.files) is not None:
            (store.put_folder if path.is_dir() else store.put)(path)
        return path

    def remove(self, path: Path) -> None:
        """Removes a file of the home, here and in its store of files."""
        if (store := self.files) is not None:
            store.remove(path)
        path.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Removes a folder of the home, here and in its store of files."""
        if (store := self.files) is not None:
            store.remove_folder(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def folders_in(self, parent: Path) -> list[Path]:
        """Folders directly in a folder, here and in the home's store of files; hidden ones are left out."""
        own = {path for path in parent.iterdir() if path.is_dir()} if parent.is_dir() else set()
        if (store := self.files) is not None:
            own |= store.folders_in(parent)
        return sorted(path for path in own if not path.name.startswith("."))

    def files_below(self, folder: Path) -> set[Path]:
        """Paths of the files below a folder, here and in the home's store of files."""
        own = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
        return own if (store := self.files) is None else own | store.files_below(folder)


def use_lake(home: Home, place: str) -> None:
    """Stores the tables of a home at a URL or in another folder, from the first write on; recorded in the home.

    Raises:
        HomeError: the home has tables elsewhere already. Silently taking another lake would mix two curations.
    """
    wanted = place.rstrip("/") if is_url(place) else str(Path(place).absolute())
    pointer = home.root / _LAKE_POINTER
    if pointer.exists():
        if (known := pointer.read_text().strip()) != wanted:
            raise HomeError(
                f"{home.root}: expected its tables at {known} (as {_LAKE_POINTER} says), PETAR_LAKE names {wanted}: "
                f"unset PETAR_LAKE, use another PETAR_HOME, or copy the lake there and write the new place into "
                f"{pointer}"
            )
        return
    own = home.root / _LAKE_NAME
    if wanted == str(own):
        return
    if own.exists():
        raise HomeError(
            f"{home.root}: expected no tables yet, got some in {own}, PETAR_LAKE names {wanted}: unset PETAR_LAKE, use "
            f"another PETAR_HOME, or move {own} there"
        )
    storage_path_of(wanted)
    atomic.write_bytes(pointer, f"{wanted}\n".encode())


def use_files(home: Home, place: str) -> None:
    """Stores volumes, masks, likelihoods and checkpoints of a home at a URL or in another folder too, from the first
    write on; recorded in the home, whose own folders are then a cache.

    Raises:
        HomeError: the home has such files elsewhere already.
    """
    wanted = place.rstrip("/") if is_url(place) else str(Path(place).absolute())
    pointer = home.root / _FILES_POINTER
    known = pointer.read_text().strip() if pointer.exists() else None
    if known == wanted:
        return
    there = [name for name in _OF_FILES if (home.root / name).exists()]
    if known is not None or there:
        raise HomeError(
            f"{home.root}: expected its files at {known or ', '.join(there)}, PETAR_FILES names {wanted}: unset "
            f"PETAR_FILES, use another PETAR_HOME, or copy the folders {', '.join(_OF_FILES)} there and write the new "
            f"place into {pointer}"
        )
    storage_path_of(wanted)
    atomic.write_bytes(pointer, f"{wanted}\n".encode())
