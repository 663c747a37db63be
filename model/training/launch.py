"""Trains one stage from the lake, also on several devices.

    torchrun --nproc-per-node 2 -m model.training.launch --home DIR --stage findings_full --cohort DIR

What the training assets do, for a machine with GPUs and no Dagster, by the same settings. The checkpoint lies where the
assets look for it, and they adopt it.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model.petar.checkpoints import CheckpointError
from model.petar.config import PRESETS, TRAINING_STAGES, model_config
from model.petar.devices import pick_device
from model.training.from_lake import LakeStage, checkpoint_before, stage_settings, train_from_lake
from model.training.parallel import current_world, joined
from model.training.plan import stage_plan
from model.training.progress import StageProgress
from model.training.request import Hooks
from model.training.stages import TrainingError
from pipelines.catalog.versions import ProvenanceError
from pipelines.settings import ModelSettings, load_settings, overlaid, parse
from pipelines.tables.home import Home
from pipelines.tables.safe_text import error_reason


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 with the result on standard output, 1 with the reason on standard error."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        pick_device(options.device)
        model = _model_settings(options)
        config, settings = model_config(model), stage_settings(options.stage, model)
        home = Home(options.home)
        if options.plan:
            device = pick_device(options.device)
            print(stage_plan(config, settings, options.stage, device, options.processes, home).summary())
            return 0
        before = checkpoint_before(home, options.stage)
        init = options.init or (before if before and before.is_dir() else None)
        allow = options.allow_other_samples
        with joined(options.device) as device_name, StageProgress(options.stage) as progress:
            asked = LakeStage(options.stage, config, settings, init, allow, device=device_name, made_by="command line")
            result = train_from_lake(home, asked, Hooks(progress.step, progress.begin))
            if current_world().leads:
                shown = {k: v for k, v in vars(result).items() if k != "curve"}
                print(json.dumps(shown, default=str, indent=1))
    except (TrainingError, CheckpointError, ProvenanceError, ValueError) as error:
        print(f"cannot train {options.stage}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m model.training.launch", description="Train one stage of PETAR from the lake."
    )
    add = parser.add_argument
    add("--home", type=Path, required=True, help="PETAR_HOME with the curated lake")
    add("--stage", choices=TRAINING_STAGES, required=True)
    add("--cohort", type=Path, help="folder whose petar.toml holds [model]")
    add("--settings-file", type=Path, help="TOML with [model] (default: COHORT/petar.toml)")
    add("--preset", choices=sorted(PRESETS), help="over [model] preset")
    add(
        "--set",
        action="append",
        default=[],
        dest="changes",
        help="a line of [model] as TOML, over the file: 'training.epochs = 3', 'stages.findings_full.lora_rank = 16'",
    )
    add("--settings", default="{}", help='settings of the stage as JSON, over all: {"epochs": 3, "lora_rank": 16}')
    add("--init", type=Path, help="checkpoint folder to start from (default: the stage before, if there)")
    add("--device", default="auto")
    add("--allow-other-samples", action="store_true", help="start from a checkpoint that saw other samples")
    add("--plan", action="store_true", help="print parameters, memory and hours, train nothing")
    add(
        "--processes",
        type=_processes,
        default=int(os.environ.get("WORLD_SIZE", "1")),
        help="processes that --plan counts",
    )
    return parser


def _processes(text: str) -> int:
    """A number of processes; argparse tells what is none."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _model_settings(options: argparse.Namespace) -> ModelSettings:
    """[model] of the file, with what the command line sets in its place."""
    project = load_settings(options.settings_file, options.cohort)
    if options.preset:
        project = overlaid(project, {"model": {"preset": options.preset}}, "--preset")
    project = overlaid(project, {"model": parse("\n".join(options.changes), "--set")}, "--set")
    try:
        changes = json.loads(options.settings)
    except ValueError as error:
        raise TrainingError(f"expected settings as JSON, got {options.settings!r} ({error_reason(error)})") from error
    return overlaid(project, {"model": {"stages": {options.stage: changes}}}, "--settings").model


if __name__ == "__main__":
    sys.exit(main())
