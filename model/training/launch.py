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

from model.petar.checkpoints import CheckpointError
from model.petar.config import (
    PRESETS,
    TRAINING_STAGES,
    TrainingSettings,
    TrainingStage,
    overridden,
    preset,
    training_settings,
)
from model.training.from_lake import LakeStage, checkpoint_before, train_from_lake
from model.training.memory import memory_plan
from model.training.parallel import current_world, joined
from model.training.stages import TrainingError
from pipelines.catalog.versions import ProvenanceError
from pipelines.settings import ModelSettings, validated
from pipelines.tables.home import Home


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 with the result on standard output, 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(
        "python -m model.training.launch", description="Train one stage of PETAR from the lake."
    )
    parser.add_argument("--home", type=Path, required=True, help="PETAR_HOME with the curated lake")
    parser.add_argument("--stage", choices=TRAINING_STAGES, required=True)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument(
        "--init", type=Path, help="checkpoint folder to start from (default: the stage before, if there)"
    )
    parser.add_argument(
        "--settings", default="{}", help='settings of the stage as JSON, {"epochs": 3, "lora_rank": 16}'
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--allow-other-samples", action="store_true", help="start from a checkpoint that saw other samples"
    )
    parser.add_argument("--plan", action="store_true", help="print parameters and memory, train nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        settings = _settings(options.preset, options.stage, options.settings)
        if options.plan:
            print(memory_plan(preset(options.preset), settings, options.stage).summary())
            return 0
        home = Home(options.home)
        before = checkpoint_before(home, options.stage)
        init = options.init or (before if before and before.is_dir() else None)
        allow = options.allow_other_samples
        with joined(options.device) as device:
            asked = LakeStage(options.stage, preset(options.preset), settings, init, allow, device=device)
            result = train_from_lake(home, asked)
            if current_world().leads:
                shown = {k: v for k, v in vars(result).items() if k != "curve"}
                print(json.dumps(shown, default=str, indent=1))
    except (TrainingError, CheckpointError, ProvenanceError, ValueError) as error:
        print(f"cannot train {options.stage}: {error}", file=sys.stderr)
        return 1
    return 0


def _settings(preset_name: str, stage: TrainingStage, changes: str) -> TrainingSettings:
    try:
        values = {"preset": preset_name, "training": json.loads(changes)}
    except ValueError as error:
        raise TrainingError(f"expected settings as JSON, got {changes!r} ({error})") from error
    return overridden(training_settings(preset_name, stage), validated(ModelSettings, values, "--settings"), stage)


if __name__ == "__main__":
    sys.exit(main())
