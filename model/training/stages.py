"""Which parameters a stage of training may change, and in what they are stored."""

import torch

from model.petar.architecture import Petar
from model.petar.config import TRAINING_STAGES, TrainingSettings, TrainingStage
from model.petar.lora import is_trained_beside_lora


class TrainingError(RuntimeError):
    """A stage that cannot be trained as asked; raised before the first step where that can be known."""


def trainable_names(model: Petar, stage: TrainingStage) -> list[str]:
    """Names of the parameters that a stage trains: the projector, the mask embedding, or everything.

    Where the language model has LoRA, "everything" is that, its embedding and its output layer instead of all of its
    own weights.
    """
    if stage not in TRAINING_STAGES:
        raise TrainingError(f"expected a stage among {', '.join(TRAINING_STAGES)}, got {stage!r}")
    part = stage.rpartition("_")[2]
    prefix = {"projector": "projector.", "mask": "vision.mask_embedding.", "full": ""}[part]
    names = [name for name, _ in model.named_parameters() if name.startswith(prefix)]
    if any(".lora_" in name for name in names):
        return [name for name in names if not name.startswith("language.") or is_trained_beside_lora(name)]
    return names


def freeze_for(model: Petar, stage: TrainingStage) -> list[str]:
    """Sets `requires_grad` on exactly what the stage trains, and returns those names."""
    names = set(trainable_names(model, stage))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return sorted(names)


def prepare_for_training(model: Petar, settings: TrainingSettings) -> None:
    """Stores trained and frozen weights in the dtypes of the settings, and sets recomputation of activations."""
    set_recompute(model, settings.recompute_activations)
    for parameter in model.parameters():
        dtype = torch.float32 if parameter.requires_grad else getattr(torch, settings.frozen_dtype)
        parameter.data = parameter.data.to(dtype)


def set_recompute(model: Petar, is_on: bool) -> None:
    """Switches recomputation of activations in the backward pass on or off."""
    switch = "enable" if is_on else "disable"
    language = model.language
    # transformers 5.23 renamed it.
    names = f"activation_checkpointing_{switch}", f"gradient_checkpointing_{switch}"
    next(getattr(language, name) for name in names if hasattr(language, name))()
    for tower in (model.vision.pet_tower, getattr(model.vision, "ct_tower", None)):
        if tower is not None:
            tower.recompute_activations = is_on
