"""Low-rank adaptation of the language model: two thin matrices beside each linear layer, merged into it for saving."""

import math

import torch
from torch import Tensor, nn

from model.petar.architecture import Petar

TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
"""Phi-3's linear layers."""


class LoraLinear(nn.Module):
    """A linear layer W with (alpha / rank) B A added; B starts at zero, so that an untrained one changes nothing.

    After Hu et al. 2021 (arXiv 2106.09685). The layer itself is frozen.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"expected a LoRA rank >= 1, got {rank}")
        self.base, self.scale = base, alpha / rank
        # Trained in float32 whatever the frozen weights are stored in.
        device = base.weight.device
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features, device=device, dtype=torch.float32))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, device=device, dtype=torch.float32))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output (..., out) with the low-rank part added."""
        added = (x.to(self.lora_a.dtype) @ self.lora_a.T) @ self.lora_b.T * self.scale
        out = self.base(x)
        return out + added.to(out.dtype)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer alone, with the low-rank part in its weight."""
        self.base.weight += (self.lora_b @ self.lora_a * self.scale).to(self.base.weight.dtype)
        return self.base


def add_lora(model: Petar, rank: int, alpha: float) -> int:
    """Puts LoRA beside every target layer of the language model; returns how many."""
    places = [
        (parent, name)
        for parent in model.language.modules()
        for name, child in parent.named_children()
        if name in TARGETS and isinstance(child, nn.Linear)
    ]
    for parent, name in places:
        setattr(parent, name, LoraLinear(getattr(parent, name), rank, alpha))
    return len(places)


def merge_lora(model: Petar) -> int:
    """Merges every LoRA into its layer, so that the model has its own names again; returns how many."""
    places = [
        (parent, name, child)
        for parent in model.language.modules()
        for name, child in parent.named_children()
        if isinstance(child, LoraLinear)
    ]
    for parent, name, child in places:
        setattr(parent, name, child.merged())
    return len(places)
