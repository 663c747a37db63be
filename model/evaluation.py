"""Predictions on held-out lesions and their scores, kept while neither the checkpoint nor the samples changed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from model.baselines import nearest_neighbour, template
from model.metrics import METRICS, ScoreSettings, metrics_version, published_scores, score
from pipelines import atomic
from pipelines.catalog import build_catalog
from pipelines.hashing import hash_of
from pipelines.home import Home
from pipelines.lake import Lake

_FOOTNOTE = (
    "Values in brackets: 95 % interval, bootstrap over patients. "
    "Rows marked (paper) are published values on another test set."
)

HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class TableReport:
    """A whole table after an update: rows, version, how many rows were made anew and how many kept."""

    frame: pl.DataFrame
    version: str
    recomputed: int
    reused: int


def checkpoint_version(checkpoint: Path) -> str:
    """Hash of a checkpoint's weights and contract: what was trained, whatever the folder is called.

    Raises:
        FileNotFoundError: there is no checkpoint; the message says which asset makes it.
    """
    files = (
        sorted(p for p in checkpoint.glob("*") if p.suffix in (".safetensors", ".json")) if checkpoint.is_dir() else []
    )
    if not files:
        raise FileNotFoundError(
            f"expected a checkpoint in {checkpoint}, got none: materialise {checkpoint.parent.name} first"
        )
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return digest.hexdigest()


def update_predictions(home: Home, checkpoint: Path, model_name: str) -> TableReport:
    """Texts of a checkpoint for every finding of the held-out splits, with the baselines' beside them, in the lake.

    Raises:
        ValueError: no finding is held out.
    """
    lake = Lake(home.lake)
    samples = lake.shard_meta("samples")
    made_from = {
        "checkpoint": checkpoint_version(checkpoint),
        "samples": samples.rows_digest if samples else "",
        "model": model_name,
    }
    meta = lake.shard_meta("predictions")
    if meta is not None and meta.inputs.get("made_from") == made_from:
        return TableReport(lake.read_table("predictions"), meta.rows_digest, 0, meta.n_rows)
    # Not at module level: where nothing changed, torch is not needed.
    from model.generation import generate

    findings = lake.read_table("samples").filter(pl.col("kind") == "finding")
    held_out = findings.filter(pl.col("split").is_in(HELD_OUT))
    if held_out.is_empty():
        raise ValueError(
            f"expected findings in the splits {' and '.join(HELD_OUT)}, got none of {findings.height}: curate "
            "more patients, or give these splits a larger share ([samples] in the settings)"
        )
    tables = lake.read_table("samples"), lake.read_table("localisations"), lake.read_table("exams")
    frame = pl.concat(
        [
            generate(held_out, checkpoint, home.root, model_name=model_name),
            nearest_neighbour(*tables, splits=HELD_OUT),
            template(*tables, splits=HELD_OUT),
        ]
    )
    written = lake.write_table("predictions", frame, {"made_from": made_from})
    return TableReport(lake.read_table("predictions"), written.rows_digest, written.n_rows, 0)


def update_scores(home: Home, settings: ScoreSettings = ScoreSettings()) -> TableReport:
    """Every metric of every model and split of the predictions, the published rows beside them, in the lake."""
    lake = Lake(home.lake)
    meta = lake.shard_meta("scores")
    predictions = lake.shard_meta("predictions")
    made_from = {
        "predictions": predictions.rows_digest if predictions else "",
        "logic": metrics_version(settings),
    }
    if meta is not None and meta.inputs.get("made_from") == made_from:
        return TableReport(lake.read_table("scores"), meta.rows_digest, 0, meta.n_rows)
    frame = pl.concat([score(lake.read_table("predictions"), settings=settings), published_scores()])
    written = lake.write_table("scores", frame, {"made_from": made_from})
    return TableReport(lake.read_table("scores"), written.rows_digest, written.n_rows, 0)


@dataclass(frozen=True)
class Scoreboard:
    """The scoreboard as Markdown, where it lies, its version, and the rows behind it."""

    text: str
    path: Path
    version: str
    scores: pl.DataFrame


def write_scoreboard(home: Home) -> Scoreboard:
    """The scores as one Markdown table a model and split, written to `scoreboard.md`; the catalog is renewed to show
    them.
    """
    lake = Lake(home.lake)
    scores = lake.read_table("scores")
    metrics = [m for m in METRICS if m in set(scores["metric"])]
    header = ["model", "split", "n", *metrics]
    lines = ["# Scoreboard", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for (model, split), rows in scores.sort("status", "model", "split").group_by("model", "split", maintain_order=True):
        cells = {row["metric"]: _cell(row) for row in rows.iter_rows(named=True)}
        n = rows["n"].max()
        lines.append(
            "| " + " | ".join([str(model), str(split), str(n or 0), *(cells.get(m, "") for m in metrics)]) + " |"
        )
    notes = scores.filter(pl.col("status") == "not computed").select("metric", "note").unique().sort("metric")
    if notes.height:
        lines += ["", "Not computed: " + "; ".join(f"{metric} ({note})" for metric, note in notes.iter_rows()) + "."]
    lines += ["", _FOOTNOTE]
    text = "\n".join(lines) + "\n"
    path = home.root / "scoreboard.md"
    atomic.write_bytes(path, text.encode())
    build_catalog(home.root)
    return Scoreboard(text, path, hash_of(text), scores)


def _cell(row: dict[str, object]) -> str:
    if row["value"] is None:
        return "not computed"
    interval = f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None and row["high"] is not None else ""
    return f"{row['value']:.3f}{interval}"
