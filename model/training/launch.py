"""Trains one stage from the lake, also on several devices.

    torchrun --nproc-per-node 2 -m model.training.launch --home DIR --stage findings_full

What the training assets do, for a machine with GPUs and no Dagster. The checkpoint lies where the assets look for it.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from model.petar.checkpoints import CheckpointError
from model.petar.config import PRESETS, STAGES, TrainingSettings, preset, training_settings
from model.training.parallel import current_world, joined
from model.training.plan import memory_plan
from model.training.stage_training import TrainingError, train_stage
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 with the result on standard output, 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(
        "python -m model.training.launch", description="Train one stage of PETAR from the lake."
    )
    parser.add_argument("--home", type=Path, required=True, help="PETAR_HOME with the curated lake")
    parser.add_argument("--stage", choices=STAGES, required=True)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument(
        "--init", type=Path, help="checkpoint folder to start from (default: the stage before, if there)"
    )
    parser.add_argument(
        "--settings", default="{}", help='settings of the stage as JSON, {"epochs": 3, "lora_rank": 16}'
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--plan", action="store_true", help="print parameters and memory, train nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        config, settings = preset(options.preset), _settings(options.preset, options.stage, options.settings)
        if options.plan:
            print(memory_plan(config, settings, options.stage).summary())
            return 0
        home = Home(options.home)
        samples = _samples(home, options.stage)
        before = STAGES.index(options.stage) - 1
        init = options.init
        if init is None and before >= 0 and (home.checkpoints / STAGES[before] / "checkpoint").is_dir():
            init = home.checkpoints / STAGES[before] / "checkpoint"
        with joined(options.device) as device:
            train, val = (samples.filter(pl.col("split") == split) for split in ("train", "val"))
            out = home.checkpoints / options.stage
            result = train_stage(options.stage, train, val, config, settings, home, out, init, device=device)
            if current_world().leads:
                told = {k: v for k, v in vars(result).items() if k != "curve"}
                print(json.dumps(told, default=str, indent=1))
    except (TrainingError, CheckpointError, ValueError) as error:
        print(f"cannot train {options.stage}: {error}", file=sys.stderr)
        return 1
    return 0


def _settings(preset_name: str, stage: str, changes: str) -> TrainingSettings:
    base = training_settings(preset_name, stage)  # type: ignore[arg-type]  # argparse has checked it
    try:
        return TrainingSettings.from_dict({**base.to_dict(), **json.loads(changes)})
    except (ValueError, TypeError) as error:
        raise TrainingError(f"expected settings as JSON, got {changes!r} ({error})") from error


def _samples(home: Home, stage: str) -> pl.DataFrame:
    lake = Lake(home.lake)
    if not lake.has_shard("samples"):
        raise TrainingError(f"expected samples at {lake.path('samples')}, there are none: curate the cohort first")
    kind = "anatomy" if stage.startswith("anatomy") else "finding"
    return lake.read_table("samples").filter(pl.col("kind") == kind)


if __name__ == "__main__":
    sys.exit(main())
