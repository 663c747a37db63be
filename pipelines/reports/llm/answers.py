"""Answers of language models, kept so that nothing is asked twice and an interrupted run goes on where it stopped."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

from pipelines.tables.safe_text import error_reason

_BUSY_S = 60.0
_LOOK_UP_AT_ONCE = 500


class CacheError(RuntimeError):
    """The file of answers cannot be used; the message says which file and what to do."""


def answer_key(model: str, prompt_version: str, schema: str, sampling: str, text: str) -> str:
    """32 hex digits that stand for one question: equal for equal model, prompt version, schema, sampling and text.

    No version of our code is among them: changed code reads the kept answers anew and asks nothing again.
    """
    digest = blake2b(digest_size=16)
    for part in (model, prompt_version, schema, sampling, text):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


class AnswerCache:
    """Answers in one SQLite file, safe against being killed at any moment and against several processes at once.

    Each answer is a transaction of its own: what `put` has returned from is there after a kill -9. Readers do not wait
    for writers.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file.

        Raises:
            CacheError: the file is no SQLite database or its folder cannot be written.
        """
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # One connection, guarded by a lock, so that threads of one process share it.
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            # In WAL mode NORMAL loses nothing when the process dies, and the last answers at most when the machine
            # does.
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL,"
                " text TEXT NOT NULL, answer TEXT NOT NULL, written_s REAL NOT NULL) WITHOUT ROWID"
            )
        except (sqlite3.Error, OSError) as error:
            raise CacheError(
                f"expected a file of answers at {path}, got {error_reason(error)}: remove the file, or name another, "
                "and run again"
            ) from error

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """The answers that are there, by key."""
        found: dict[str, str] = {}
        with self._cursor() as cursor:
            for start in range(0, len(keys), _LOOK_UP_AT_ONCE):
                part = keys[start : start + _LOOK_UP_AT_ONCE]
                marks = ",".join("?" * len(part))
                found.update(cursor.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", list(part)))
        return found

    def put(self, key: str, model: str, prompt_version: str, text: str, answer: str) -> None:
        """Keeps an answer. A key that is there already gets the new answer."""
        row = (key, model, prompt_version, text.encode("utf-8", "replace").decode(), answer, time.time())
        with self._cursor() as cursor:
            cursor.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)

    def __len__(self) -> int:
        """How many answers there are."""
        with self._cursor() as cursor:
            return int(cursor.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> "AnswerCache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        with self._lock:
            try:
                cursor = self._connection.cursor()
                try:
                    yield cursor
                finally:
                    cursor.close()
            except sqlite3.Error as error:
                raise CacheError(
                    f"the file of answers {self._path} failed with: {error_reason(error)}; free the disk or the file "
                    "and run again"
                ) from error
