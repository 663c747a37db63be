"""What the stages of training left behind, in words. No torch."""

import json
from collections.abc import Mapping
from typing import Any

from model.petar.config import STAGES
from pipelines.tables.home import Home


def stage_results(home: Home) -> dict[str, dict[str, Any]]:
    """Result of every stage that was trained, in the order of training, as its `result.json` holds it."""
    paths = {stage: home.checkpoints / stage / "result.json" for stage in STAGES}
    return {stage: json.loads(path.read_text()) for stage, path in paths.items() if path.is_file()}


def stage_line(stage: str, result: Mapping[str, Any]) -> str:
    """One line on a stage: samples, steps, trainable parameters, losses, seconds."""
    if result["loss_first"] is None:
        return f"{stage:<20}{result['note']}"
    validation = "" if result["val_loss"] is None else f", validation {result['val_loss']:.3f}"
    return (
        f"{stage:<20}loss {result['loss_first']:.3f} -> {result['loss_last']:.3f}{validation}; "
        f"{result['n_samples']} samples, {result['steps']} steps, {result['trainable_parameters']:,} of "
        f"{result['total_parameters']:,} parameters, {result['seconds']:.0f} s"
    )
