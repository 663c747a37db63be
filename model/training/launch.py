"""Trains one stage from the lake without Dagster, also by several processes.

    torchrun --nproc-per-node 2 -m assets.cli model train --stage findings_full --home DIR --cohort DIR

What the training assets do, by the same settings. The checkpoint lies where the assets look for it, and they adopt it.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from model.petar.config import TrainingStage, model_config
from model.training.from_lake import (
    LakeStage,
    checkpoint_before,
    reason_to_leave_out,
    stage_settings,
    train_from_lake,
)
from model.training.parallel import current_world, joined
from model.training.progress import StageProgress
from model.training.request import Hooks
from model.training.results import StageResult
from pipelines.settings import ModelSettings
from pipelines.tables.home import Home

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LaunchedStage:
    """A stage that the command line trains."""

    stage: TrainingStage
    model: ModelSettings
    home: Home
    init: Path | None = None
    """Checkpoint to start from; None: that of the stage before, if it is there."""
    device: str = "auto"
    allow_other_samples: bool = False


def launch(asked: LaunchedStage) -> StageResult | None:
    """What a stage reached; None for one that is left out, and in a process that does not lead.

    Raises:
        SettingsError, TrainingError, CheckpointError, ProvenanceError: as `train_from_lake`.
    """
    config, settings = model_config(asked.model), stage_settings(asked.stage, asked.model)
    if (reason := reason_to_leave_out(asked.home, asked.stage, config)) is not None:
        log.warning("%s is left out: %s", asked.stage, reason)
        return None
    before = checkpoint_before(asked.home, asked.stage, config)
    init = asked.init or (before if before and before.is_dir() else None)
    with joined(asked.device) as device, StageProgress(asked.stage) as progress:
        stage = LakeStage(
            asked.stage, config, settings, init, asked.allow_other_samples, device=device, made_by="command line"
        )
        result = train_from_lake(asked.home, stage, Hooks(progress.step, progress.begin))
        return result if current_world().leads else None
