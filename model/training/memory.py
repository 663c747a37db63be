"""How much memory a stage of training takes, before it is started."""

from dataclasses import dataclass

import torch

from model.petar.architecture import Petar, language_model
from model.petar.config import PRESETS, ModelConfig, TrainingSettings, TrainingStage, training_settings
from model.petar.lora import add_lora
from model.training.stages import freeze_for

_GB = 1e9


@dataclass(frozen=True)
class MemoryPlan:
    """Parameters, and an estimate in GB of what one device holds. Activations are the rough part of it."""

    parameters: dict[str, int]
    """By part, and `total`."""
    trainable: int
    weights_gb: float
    gradients_gb: float
    optimiser_gb: float
    activations_gb: float

    @property
    def total_gb(self) -> float:
        """All of it."""
        return self.weights_gb + self.gradients_gb + self.optimiser_gb + self.activations_gb

    def summary(self) -> str:
        """A few lines for a log, largest first."""
        parts = ", ".join(f"{name} {count / 1e6:,.2f} M" for name, count in self.parameters.items())
        return (
            f"parameters: {parts}; trained {self.trainable / 1e6:,.2f} M\n"
            f"memory: about {self.total_gb:.1f} GB (weights {self.weights_gb:.1f}, gradients {self.gradients_gb:.1f}, "
            f"optimiser {self.optimiser_gb:.1f}, activations {self.activations_gb:.1f})"
        )


def memory_plan(
    config: ModelConfig,
    settings: TrainingSettings,
    stage: TrainingStage = "findings_full",
    length: int | None = None,
    *,
    processes: int = 1,
) -> MemoryPlan:
    """The plan of a stage; the model is built on the meta device, so this takes no memory itself.

    Weights and gradients take their dtype's bytes, AdamW two float32 a trained weight (8-bit: two bytes). Activations:
    per layer, token and unit of width 34 bytes in 16 bits (Korthikanti 2022, with fused attention), twice that in 32
    bits; with recomputation two bytes and one layer's worth. `length` is tokens a sample (default: the configuration's
    limit). With sharding `full` each of several `processes` holds its part of weights, gradients and optimiser.
    """
    with torch.device("meta"):
        model = Petar(config, language_model(config.language, config.language.vocab_size), 1)
        if settings.lora_rank:
            add_lora(model, settings.lora_rank, settings.lora_alpha)
    counts = model.count_parameters()
    freeze_for(model, stage)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen_bytes = 2 if settings.frozen_dtype == "bfloat16" else 4
    trained_bytes = 4
    weights = (counts["total"] - trained) * frozen_bytes + trained * trained_bytes
    state = 2 if settings.optimiser == "adamw8bit" else 8
    parts = processes if settings.sharding == "full" else 1
    return MemoryPlan(
        counts,
        trained,
        weights / parts / _GB,
        trained * trained_bytes / parts / _GB,
        trained * state / parts / _GB,
        _activation_bytes(config, settings, length or config.max_length) / _GB,
    )


def _activation_bytes(config: ModelConfig, settings: TrainingSettings, length: int) -> float:
    bytes_per_unit = 34 if settings.precision == "bfloat16" else 68

    def stack(tokens: int, width: int, layers: int) -> float:
        one = settings.batch_size * tokens * width
        if settings.recompute_activations:
            return one * (2 * layers + bytes_per_unit)
        return one * layers * bytes_per_unit

    z, y, x = config.vision.grid
    passes = (2 if config.use_focal else 1) * (2 if config.use_ct else 1)
    vision = stack(passes * (z * y * x + 1), config.vision.width, config.vision.layers)
    logits = settings.batch_size * length * config.language.vocab_size * 4
    return vision + stack(length, config.language.width, config.language.layers) + logits


def presets_that_fit(memory_gb: float) -> list[str]:
    """Presets whose full training, batch 1, is planned to fit a device, largest first."""
    sized = []
    for name, config in PRESETS.items():
        plan = memory_plan(config, training_settings(name, "findings_full", batch_size=1, recompute_activations=True))
        if plan.total_gb <= memory_gb:
            sized.append((plan.total_gb, name))
    return [name for _, name in sorted(sized, reverse=True)]


def device_memory_gb(device: torch.device) -> float | None:
    """Memory of a GPU in GB; None for a CPU."""
    return torch.cuda.get_device_properties(device).total_memory / _GB if device.type == "cuda" else None


def device_plan(config: ModelConfig, settings: TrainingSettings, stage: TrainingStage, device: torch.device) -> str:
    """The plan of a stage for a log, and what would fit where the device is too small for it."""
    plan = memory_plan(config, settings, stage)
    memory_gb = device_memory_gb(device)
    if memory_gb is None or plan.total_gb <= memory_gb:
        return plan.summary()
    fitting = ", ".join(presets_that_fit(memory_gb)) or "none"
    return f"{plan.summary()}\nthe device has {memory_gb:.0f} GB, this may not fit; presets that would: {fitting}"
