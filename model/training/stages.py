"""Which parameters a stage of training may change."""

from model.petar.architecture import Petar
from model.petar.config import TRAINING_STAGES, TrainingStage


class TrainingError(RuntimeError):
    """A stage that cannot be trained as asked; raised before the first step where that can be known."""


def trainable_names(model: Petar, stage: TrainingStage) -> list[str]:
    """Names of the parameters that a stage trains: the projector, the mask embedding, or everything.

    Where the language model has LoRA, "everything" is that instead of the language model's own weights.
    """
    if stage not in TRAINING_STAGES:
        raise TrainingError(f"expected a stage among {', '.join(TRAINING_STAGES)}, got {stage!r}")
    part = stage.rpartition("_")[2]
    prefix = {"projector": "projector.", "mask": "vision.mask_embedding.", "full": ""}[part]
    names = [name for name, _ in model.named_parameters() if name.startswith(prefix)]
    if any(".lora_" in name for name in names):
        return [name for name in names if not name.startswith("language.") or ".lora_" in name]
    return names


def freeze_for(model: Petar, stage: TrainingStage) -> list[str]:
    """Sets `requires_grad` on exactly what the stage trains, and returns those names."""
    names = set(trainable_names(model, stage))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return sorted(names)
