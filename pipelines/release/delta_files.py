"""A Delta table of the lesions and one of the exams, without images, by the optional package deltalake."""

from pathlib import Path

import polars as pl

from pipelines.release.contents import Contents
from pipelines.release.gate import ReleaseError


def write_delta(contents: Contents, folder: Path) -> None:
    """Writes `lesions` and `exams` as Delta tables. Their log holds times, so they differ each time they are made.

    Raises:
        ReleaseError: deltalake is not installed.
    """
    try:
        from deltalake import write_deltalake
    except ImportError:
        raise ReleaseError(
            "expected the package deltalake for --format delta, it is not installed: pip install 'petar[delta]'"
        ) from None
    exams = pl.DataFrame([dict(exam.row) for exam in contents.exams], infer_schema_length=None)
    for name, frame in (("lesions", contents.lesions()), ("exams", exams)):
        whole = frame.select(
            pl.col(c) if frame.schema[c] != pl.Null else pl.col(c).cast(pl.String) for c in frame.columns
        )
        write_deltalake(str(folder / name), whole.to_arrow(), mode="overwrite")
