"""Files of a home that lie in an object store: the home's own folders are the cache of this machine.

A file is read where it lies in the home, once what the store holds is there; a file that was written is put into the
store before a row names it. So machines that share a store and no disk see the same files. What the cache holds of
which state of the store stands beside each file (`.<name>.tag`); the cache may be emptied whenever nothing runs.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines.tables import atomic
from pipelines.tables import storage_paths as places
from pipelines.tables.storage_paths import StoragePath


@dataclass(frozen=True)
class FileStore:
    """The files below the folder `root`, as `store` holds them at the same relative paths."""

    root: Path
    store: StoragePath

    def fetch(self, path: Path) -> Path:
        """The same path, with the store's file at it; where the store has none, it is left as it is."""
        tag = places.signature(self._stored(path))
        if tag is not None:
            self._fetch(path, tag)
        return path

    def fetch_folder(self, folder: Path) -> Path:
        """The same folder with all files that the store holds of it, and no others of the store's earlier ones."""
        held = places.signatures_below(self._stored(folder))
        for name, tag in held.items():
            if tag is not None:
                self._fetch(folder / name, tag)
        for tag_path in folder.rglob(f".*{_TAG}") if folder.is_dir() else ():
            path = tag_path.with_name(tag_path.name[1 : -len(_TAG)])
            if path.relative_to(folder).as_posix() not in held:
                path.unlink(missing_ok=True)
                tag_path.unlink(missing_ok=True)
        return folder

    def holds(self, path: Path) -> bool:
        """Whether the store has a file."""
        return places.exists(self._stored(path))

    def folders_in(self, parent: Path) -> set[Path]:
        """Paths of the folders that the store has directly in a folder."""
        return {parent / name for name in places.folders_in(self._stored(parent))}

    def put(self, path: Path) -> None:
        """Puts a file into the store."""
        stored = self._stored(path)
        places.upload(path, stored)
        self._note(path, places.signature(stored))

    def put_folder(self, folder: Path) -> None:
        """Makes the store's folder the same as this one."""
        held = places.signatures_below(self._stored(folder))
        own = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        own = {name: path for name, path in own.items() if not path.name.startswith(".")}
        for path in own.values():
            self.put(path)
        for name in held.keys() - own.keys():
            places.remove(self._stored(folder / name))

    def remove(self, path: Path) -> None:
        """Removes a file here and in the store."""
        places.remove(self._stored(path))
        path.unlink(missing_ok=True)
        _tag_of(path).unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Removes a folder here and in the store."""
        places.remove_folder(self._stored(folder))
        shutil.rmtree(folder, ignore_errors=True)

    def files_below(self, folder: Path) -> set[Path]:
        """Paths of the files that the store holds below a folder."""
        return {folder / name for name in places.signatures_below(self._stored(folder))}

    def _stored(self, path: Path) -> StoragePath:
        return self.store / path.relative_to(self.root).as_posix()

    def _fetch(self, path: Path, tag: tuple[object, ...]) -> None:
        note = _tag_of(path)
        if path.is_file() and note.is_file() and note.read_text() == str(tag):
            return
        note.unlink(missing_ok=True)
        places.download(self._stored(path), path)
        self._note(path, tag)

    def _note(self, path: Path, tag: tuple[object, ...] | None) -> None:
        atomic.write_bytes(_tag_of(path), str(tag).encode())


_TAG = ".tag"


def _tag_of(path: Path) -> Path:
    """File that says which state of the store's file lies at a path."""
    return path.with_name(f".{path.name}{_TAG}")
