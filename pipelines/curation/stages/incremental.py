"""Row-level reuse: a stage recomputes the exams whose key changed and keeps the rows of all others."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import polars as pl

from pipelines.curation.stages.stopping import CurationStoppedError


@dataclass(frozen=True)
class UpdateCounts:
    """Number of exams by what an update did with them."""

    recomputed: int = 0
    reused: int = 0
    removed: int = 0
    failed: int = 0

    def __add__(self, other: "UpdateCounts") -> "UpdateCounts":
        return UpdateCounts(
            self.recomputed + other.recomputed,
            self.reused + other.reused,
            self.removed + other.removed,
            self.failed + other.failed,
        )


@dataclass(frozen=True)
class ShardUpdate:
    """The rows of a shard after an update, the key of every exam in it, and what was done."""

    frame: pl.DataFrame
    keys: dict[str, str]
    counts: UpdateCounts
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
    save_after_s: float = 0,
    is_stopped: Callable[[], bool] = lambda: False,
) -> ShardUpdate:
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
        save_after_s: but not before so many seconds have passed since the last save: exams that cost milliseconds are
        sooner done again than saved.

        is_stopped: asked before every exam; where it says so, what was computed is saved and the update ends.

    Raises:
        ValueError: `only` names an exam that is not in `keys`.
        CurationStoppedError: `is_stopped` said so.
    """
    unknown = sorted(set(only) - set(keys))
    if unknown:
        raise ValueError(
            f"expected only_exams to name exams of this shard, got {unknown}: check the ids and the partition"
        )
    todo = list(only) if only else [exam for exam, key in keys.items() if previous_keys.get(exam) != key]
    # One that failed has rows and no key; one whose report held nothing has a key and no rows.
    gone = tuple(sorted({*previous_keys, *previous["exam_id"].unique()} - set(keys)))
    schema = previous.schema
    kept = {exam: key for exam, key in previous_keys.items() if exam in keys}
    rows: list[dict[str, object]] = []
    failed = 0
    saved_at = time.monotonic()

    def frame_after(done: Sequence[str]) -> pl.DataFrame:
        replaced = [*gone, *done]
        left = previous.filter(~pl.col("exam_id").is_in(replaced)) if replaced else previous
        return pl.concat([left, _frame(rows, schema)]) if rows else left

    for n, exam in enumerate(todo, start=1):
        if is_stopped():
            if save is not None and n > 1:
                save(frame_after(todo[: n - 1]), dict(kept))
            raise CurationStoppedError(f"stopped with {len(todo) - n + 1} of {len(todo)} exams of this shard to do")
        if prepare is not None and (n - 1) % save_every == 0:
            prepare(todo[n - 1 : n - 1 + save_every])
        computed, has_failed = compute(exam)
        rows.extend({"row_key": keys[exam], **row} for row in computed)
        kept.pop(exam, None)
        if has_failed:
            failed += 1
        else:
            kept[exam] = keys[exam]
        if save is not None and n % save_every == 0 and n < len(todo) and time.monotonic() - saved_at >= save_after_s:
            save(frame_after(todo[:n]), dict(kept))
            saved_at = time.monotonic()

    counts = UpdateCounts(recomputed=len(todo) - failed, reused=len(keys) - len(todo), removed=len(gone), failed=failed)
    return ShardUpdate(frame_after(todo), kept, counts, gone)


def _frame(rows: Sequence[Mapping[str, object]], schema: pl.Schema) -> pl.DataFrame:
    columns = {name: _plain([row.get(name) for row in rows]) for name in schema}
    try:
        return pl.DataFrame(columns, schema=schema)
    except TypeError:
        # Row by row takes three times as long, and also values of another type than their column's.
        return pl.DataFrame(
            [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], schema
        )


def _plain(values: list[object]) -> list[object]:
    if any(issubclass(kind, Enum) for kind in set(map(type, values))):
        return [value.value if isinstance(value, Enum) else value for value in values]
    return values
