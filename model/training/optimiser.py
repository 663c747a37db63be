"""The optimiser of a stage: AdamW with a learning rate for each part of the model."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from model.petar.config import TrainingSettings
from model.training.stages import TrainingError


def make_optimiser(parameters: Mapping[str, nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov 2019); vectors (norms, biases) do not decay, and language model and mask embedding have their
    own share of the learning rate.

    Args:
        parameters: those that the stage trains, by name.
        settings: optimiser, rates, weight decay.
    """
    shares = {"language.": settings.language_rate, "vision.mask_embedding.": settings.mask_rate}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
        share = next((share for part, share in shares.items() if name.startswith(part)), 1.0)
        groups.setdefault((decay, share), []).append(parameter)
    return optimiser_class(settings)(
        [{"params": found, "weight_decay": decay, "share": share} for (decay, share), found in groups.items()],
        lr=settings.learning_rate,
        betas=(0.9, settings.beta2),
    )


def optimiser_class(settings: TrainingSettings) -> Callable[..., torch.optim.Optimizer]:
    """The optimiser that the settings name. Raises TrainingError where its package is not installed."""
    if settings.optimiser == "adamw":
        # Fused: one pass over all weights, where a loop over a tiny model's many small ones takes longer than they do.
        return partial(torch.optim.AdamW, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]  # an extra
    except ImportError as error:
        raise TrainingError(
            "expected bitsandbytes for optimiser 'adamw8bit', it is not installed: install it or use 'adamw'"
        ) from error
    return AdamW8bit
