"""The samples of a training stage: hash, selection and checks before the first step."""

from hashlib import blake2b
from pathlib import Path

import polars as pl

from model.inputs.tensors import NEEDED_COLUMNS, LesionDataset
from model.training.stages import TrainingError
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home

_SMALL_FILE_BYTES = 1 << 20
_PATHS = ("suv_path", "ct_path", "mask_path")


def data_hash(samples: pl.DataFrame, home: Home) -> str:
    """Hash of what a stage sees: the samples' rows in order, and its files by size and, under 1 MiB, by content."""
    columns = [c for c in NEEDED_COLUMNS if c in samples.columns]
    rows = [list(row) for row in samples.select(columns).rows()]
    names = {name for c in _PATHS if c in columns for name in samples[c].drop_nulls()}
    return hash_of(columns, rows, [_file_state(name, home.file(name)) for name in sorted(names)])[:16]


def _file_state(name: str, path: Path) -> list[object]:
    size = path.stat().st_size if path.is_file() else -1
    content = blake2b(path.read_bytes(), digest_size=8).hexdigest() if 0 <= size <= _SMALL_FILE_BYTES else ""
    return [name, size, content]


def spread(samples: pl.DataFrame, limit: int) -> pl.DataFrame:
    """At most `limit` samples, evenly from the whole frame: its first ones would be of few exams."""
    n = len(samples)
    return samples if n <= limit else samples[[i * n // limit for i in range(limit)]]


def check_split(stage: str, name: str, samples: pl.DataFrame) -> None:
    """Raises TrainingError for a split without rows or without the columns of the table `samples`."""
    missing = [c for c in NEEDED_COLUMNS if c not in samples.columns]
    if missing:
        raise TrainingError(
            f"stage {stage}, split {name}: expected the columns of the samples table, got a frame without "
            f"{', '.join(missing)}"
        )
    if samples.is_empty():
        raise TrainingError(
            f"stage {stage}: expected samples in the split {name}, got none: curate more patients or change the "
            "shares of the splits" + (" (validation_samples=0 trains without validation)" if name == "val" else "")
        )


def check_samples(stage: str, *datasets: LesionDataset) -> None:
    """Raises TrainingError that names the samples which cannot become inputs."""
    problems = [problem for dataset in datasets for problem in dataset.problems()]
    if not problems:
        return
    shown = "; ".join(f"sample {p.sample_id} of exam {p.exam_id}: {p.message}" for p in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    count = sum(len(d) for d in datasets)
    raise TrainingError(
        f"stage {stage}: {len(problems)} of {count} samples cannot be used: {shown}{more}. Drop or fix them "
        "before training"
    )
