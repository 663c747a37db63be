"""Row-level reuse: a stage recomputes the exams whose key changed and keeps the rows of all others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import polars as pl


@dataclass(frozen=True)
class Counts:
    """What a stage did, in exams."""

    recomputed: int = 0
    reused: int = 0
    removed: int = 0
    failed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.recomputed + other.recomputed,
            self.reused + other.reused,
            self.removed + other.removed,
            self.failed + other.failed,
        )


@dataclass(frozen=True)
class Update:
    """The rows of a shard after an update, the key of every exam in it, and what was done."""

    frame: pl.DataFrame
    keys: dict[str, str]
    counts: Counts
    removed: tuple[str, ...] = field(default=())


Rows = Sequence[Mapping[str, object]]


def update_exams(
    keys: Mapping[str, str],
    previous: pl.DataFrame,
    previous_keys: Mapping[str, str],
    compute: Callable[[str], tuple[Rows, bool]],
    *,
    only: Sequence[str] = (),
    prepare: Callable[[Sequence[str]], None] | None = None,
    save: Callable[[pl.DataFrame, dict[str, str]], None] | None = None,
    save_every: int = 25,
) -> Update:
    """The rows of every exam in `keys`, computed where the key is new and reused where it is unchanged.

    Args:
        keys: exam id -> key of everything its rows depend on.
        previous: rows of the last update (empty, with the table's columns, at the first).
        previous_keys: keys of the last update; an exam that gave no row stands here all the same.
        compute: exam id -> (rows, whether it failed). A failed exam keeps no key, so that the next update tries again.
            A row without a `row_key` of its own takes the exam's key.
        only: where given, exactly these exams are computed, even if their key is unchanged; all others stay as they
        are.
        prepare: called with every batch of `save_every` exams before they are computed, for what is cheaper done for
        many at once.
        save: called with the rows so far after every `save_every` exams, so that a killed shard resumes where it
        stopped.

    Raises:
        ValueError: `only` names an exam that is not in `keys`.
    """
    unknown = sorted(set(only) - set(keys))
    if unknown:
        raise ValueError(
            f"expected only_exams to name exams of this shard, got {unknown}: check the ids and the partition"
        )
    todo = list(only) if only else [exam for exam, key in keys.items() if previous_keys.get(exam) != key]
    gone = tuple(sorted(set(previous_keys) - set(keys)))
    schema = previous.schema
    frames = {} if previous.is_empty() else _by_exam(previous.filter(~pl.col("exam_id").is_in(list(gone))))
    kept = {exam: key for exam, key in previous_keys.items() if exam in keys}
    failed = 0

    for n, exam in enumerate(todo, start=1):
        if prepare is not None and (n - 1) % save_every == 0:
            prepare(todo[n - 1 : n - 1 + save_every])
        rows, has_failed = compute(exam)
        frames[exam] = _frame([{"row_key": keys[exam], **row} for row in rows], schema)
        kept.pop(exam, None)
        if has_failed:
            failed += 1
        else:
            kept[exam] = keys[exam]
        if save is not None and n % save_every == 0 and n < len(todo):
            save(_concat(frames.values(), schema), dict(kept))

    counts = Counts(recomputed=len(todo) - failed, reused=len(keys) - len(todo), removed=len(gone), failed=failed)
    return Update(_concat(frames.values(), schema), kept, counts, gone)


def _by_exam(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(exam): part for (exam,), part in frame.group_by("exam_id", maintain_order=True)}


def _frame(rows: Iterable[Mapping[str, object]], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame([{name: _plain(row.get(name)) for name in schema} for row in rows], schema=schema)


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _concat(frames: Iterable[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    present = [frame for frame in frames if not frame.is_empty()]
    return pl.concat(present) if present else pl.DataFrame(schema=schema)
