"""Cache of checks that open files: a file that passed is opened again only when it, or its row, changed.

What was seen lies in `PETAR_HOME/checked/<check>.parquet`, beside the files that it is about, a row an item: the key of
all that the verdict rests on. Sizes and times of the files are part of the key, so a file damaged later is opened
again; an item that was found wrong is looked at every time. Deleting the folder costs one full look and nothing else.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of

_SCHEMA = pl.Schema({"item": pl.String, "key": pl.String})


@dataclass(frozen=True)
class CheckItem:
    """One thing to look at: its name, what of its row counts, its files, and the look, which gives what is wrong or
    None.
    """

    name: str
    facts: Any
    files: tuple[Path | None, ...]
    look: Callable[[], str | None]

    def key(self, code: str) -> str:
        """Hash of the code that looks, the facts, and every file's size and time."""
        return hash_of(code, self.facts, [_state(path) for path in self.files])


@dataclass(frozen=True)
class CheckCache:
    """What a check that opens files has seen before. Without a folder nothing is kept."""

    folder: Path | None = None
    reopen: bool = False
    """Look at everything again, whatever was seen."""
    code: str = ""
    """Version of the code that looks; another one looks at everything again."""

    def check(self, check: str, items: Sequence[CheckItem]) -> tuple[list[tuple[CheckItem, str]], int]:
        """(items that are wrong with what is wrong, how many were opened)."""
        seen = {} if self.reopen else self._read(check)
        right: list[tuple[str, str]] = []
        wrong: list[tuple[CheckItem, str]] = []
        n_opened = 0
        for item in items:
            # Before the look: a file that changes while it is read is looked at again.
            key = item.key(self.code)
            if seen.get(item.name) != key:
                n_opened += 1
                reason = item.look()
                if reason is not None:
                    wrong.append((item, reason))
                    continue
            right.append((item.name, key))
        self._write(check, right)
        return wrong, n_opened

    def _path(self, check: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{check}.parquet"

    def _read(self, check: str) -> dict[str, str]:
        path = self._path(check)
        if path is None or not path.exists():
            return {}
        try:
            return dict(pl.read_parquet(path, columns=list(_SCHEMA), glob=False).iter_rows())
        except (pl.exceptions.PolarsError, OSError):
            return {}  # A damaged memory costs one look at everything.

    def _write(self, check: str, right: Sequence[tuple[str, str]]) -> None:
        path = self._path(check)
        if path is not None:
            sink = io.BytesIO()
            pl.DataFrame(sorted(right), schema=_SCHEMA, orient="row").write_parquet(sink)
            atomic.write_bytes(path, sink.getvalue())


def _state(path: Path | None) -> list[int] | None:
    """Size and time of a file, None where it is not there."""
    try:
        stat = path.stat() if path is not None else None
    except OSError:
        return None
    return None if stat is None else [stat.st_size, stat.st_mtime_ns]
