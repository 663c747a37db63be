"""Errors of each reader by kind of text and language, kept over time."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipelines.reports.reader_weights import votes_of
from pipelines.reports.readers import Reader
from pipelines.reports.scorecard import LABELLED, Labelled, read_labelled
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.tables.atomic import write_bytes

HISTORY_FILE = "reader_errors.csv"
"""In PETAR_HOME, beside the lake: it holds dates, which no table does."""
_WHAT = ("reader", "version", "source", "kind", "language")
_SCHEMA = pl.Schema(
    {"date": pl.String} | dict.fromkeys(_WHAT, pl.String) | dict.fromkeys(("n", "right", "missed", "wrong"), pl.Int64)
)


def reader_errors(
    labelled: Sequence[Labelled], readers: Sequence[Reader], vocabulary: Vocabulary | None = None
) -> pl.DataFrame:
    """How each reader reads labelled texts, a row a reader, source, kind and language.

    Columns: reader, version, source, kind, language; n (texts), right (those whose pairs are all read and no other),
    missed (those with a pair that is not read), wrong (those with a pair that is read and not true).
    """
    versions = {reader.name: reader.version for reader in readers}
    rows = []
    for item, (_, by_reader) in zip(labelled, read_labelled(labelled, readers, vocabulary), strict=True):
        # The package's labels leave out lesions without a slice.
        readings = [r for own in by_reader.values() for r in own]
        votes = votes_of(readings, item.pairs, with_slice=item.source == LABELLED)
        for name in versions:
            missed = any(v.is_true and v.said.get(name, -1) < 0 for v in votes)
            wrong = any(not v.is_true and v.said.get(name, -1) > 0 for v in votes)
            rows.append(
                {"reader": name, "version": versions[name], "source": item.source, "kind": item.topic,
                 "language": item.language, "n": 1, "right": int(not (missed or wrong)), "missed": int(missed),
                 "wrong": int(wrong)}
            )  # fmt: skip
    schema = {name: kind for name, kind in _SCHEMA.items() if name != "date"}
    return pl.DataFrame(rows, schema=schema).group_by(_WHAT, maintain_order=True).agg(pl.exclude(_WHAT).sum())


def recorded(folder: Path, errors: pl.DataFrame, date: str) -> pl.DataFrame:
    """The errors of all measurements in a home with new ones, which are kept there; oldest first.

    The same version on as many texts is one measurement, whenever it was made again.

    Args:
        folder: PETAR_HOME.
        date: of today, YYYY-MM-DD.
    """
    path = folder / HISTORY_FILE
    before = read_history(folder)
    new = errors.with_columns(date=pl.lit(date)).select(_SCHEMA.names()).cast(_SCHEMA)
    new = new.join(before, on=[*_WHAT, "n", "right", "missed", "wrong"], how="anti", nulls_equal=True)
    out = pl.concat([before, new])
    write_bytes(path, out.write_csv().encode())
    return out


def read_history(folder: Path) -> pl.DataFrame:
    """The measurements that a home holds.

    Raises:
        ValueError: the file is not one of ours.
    """
    path = folder / HISTORY_FILE
    if not path.is_file():
        return pl.DataFrame(schema=_SCHEMA)
    try:
        found = pl.read_csv(path, schema_overrides=dict(_SCHEMA))
        if found.columns != _SCHEMA.names():
            raise pl.exceptions.SchemaError(f"columns {', '.join(found.columns)}")
        return found.with_columns(pl.col(_WHAT).fill_null(""))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(
            f"expected measurements of readers in {path}, got a file that is none: move it away, and a new one begins"
        ) from error


def over_time(history: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Shares of texts read right and with a wrong pair by date and reader, and by `kind` or `language` where asked."""
    keys = ["date", "reader", "source", *by]
    summed = history.group_by(keys, maintain_order=True).agg(pl.col("n", "right", "wrong").sum())
    shares = {name: (pl.col(name) / pl.col("n")).round(3) for name in ("right", "wrong")}
    return summed.with_columns(**shares).sort(keys)
