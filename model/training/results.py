"""What a training stage reached: `result.json` beside its checkpoint. No torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.petar.config import TRAINING_STAGES
from pipelines.tables import atomic
from pipelines.tables.home import Home

_RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a stage reached. Losses are nats per answer token; None where nothing was trained or measured."""

    stage: str
    checkpoint: Path
    loss_first: float | None = None
    """Mean over the first steps (a fifth of all, at least one)."""
    loss_last: float | None = None
    """Mean over as many last steps."""
    val_loss: float | None = None
    """On the validation samples, after the last step."""
    best_epoch: int | None = None
    """The epoch whose weights were kept, from 1; None: the last one, epochs were not compared."""
    best_fields: float | None = None
    """Share of right fields in that epoch's texts of the validation samples."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """One entry a step: step, epoch, loss, learning_rate, grad_norm, samples_per_s, seconds, and val_loss at the end of
    an epoch.
    """
    seconds: float = 0.0
    """Of training, over all runs of it: language warm-up, steps and validation; no saving."""
    n_samples: int
    steps: int = 0
    trainable_parameters: int = 0
    total_parameters: int
    resumed_from_step: int = 0
    reused: bool = False
    """True when the checkpoint was there already, from an equal request."""
    note: str = ""
    made_by: str = "asset"
    """`asset` or `command line`."""


def read_result(out_dir: Path, identity: str | None = None) -> StageResult | None:
    """The result of a finished stage; None where there is none, or one of another identity (None: of any)."""
    path = out_dir / _RESULT
    stored = json.loads(path.read_text()) if path.is_file() else {}
    checkpoint = out_dir / "checkpoint"
    found = stored.pop("identity", None)
    if found is None or identity not in (None, found) or not checkpoint.is_dir():
        return None
    return StageResult(**{**stored, "checkpoint": checkpoint, "reused": True})


def write_result(out_dir: Path, result: StageResult, identity: str) -> None:
    """Writes a stage's result with its identity."""
    stored = {**asdict(result), "checkpoint": str(result.checkpoint), "identity": identity}
    atomic.write_bytes(out_dir / _RESULT, json.dumps(stored).encode())


def stage_results(home: Home) -> dict[str, dict[str, Any]]:
    """Result of every stage that was trained, in the order of training, as its `result.json` holds it."""
    paths = {stage: home.file(home.checkpoints / stage / _RESULT) for stage in TRAINING_STAGES}
    return {stage: json.loads(path.read_text()) for stage, path in paths.items() if path.is_file()}


def stage_line(stage: str, result: Mapping[str, Any]) -> str:
    """One line on a stage: samples, steps, trainable parameters, losses, seconds."""
    if result["loss_first"] is None:
        return f"{stage:<20}{result['note']}"
    validation = "" if result["val_loss"] is None else f", validation {result['val_loss']:.3f}"
    if result.get("best_epoch") is not None:
        fields = "" if result.get("best_fields") is None else f" with {result['best_fields']:.0%} of fields right"
        validation += f", epoch {result['best_epoch']} kept{fields}"
    return (
        f"{stage:<20}loss {result['loss_first']:.3f} -> {result['loss_last']:.3f}{validation}; "
        f"{result['n_samples']} samples, {result['steps']} steps, {result['trainable_parameters']:,} of "
        f"{result['total_parameters']:,} parameters, {result['seconds']:.0f} s"
    )
