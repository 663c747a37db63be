"""Weights and optimiser state of a model as whole tensors, also where they are sharded over processes (FSDP2), for
models that one GPU cannot hold.

Torch's `fully_shard` and its state dicts, which accelerate's FSDP2 calls too: parameters keep their names, so that what
a stage trains, saves and reads is the same in one process and in several.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import broadcast
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from model.petar.architecture import Petar
from model.training.compiled import transformer_blocks
from model.training.parallel import World

_LOAD = StateDictOptions(full_state_dict=True, strict=False)


def shard(model: Petar, world: World, device: torch.device) -> None:
    """Shards a model's parameters in place, each transformer block by itself, then what is left, and puts the shards on
    the device with the leading process's weights. No device holds the whole model.

    Args:
        model: on the CPU with its values in the leading process, anywhere in the others.
        world: the processes.
        device: this process's.
    """
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()} if world.leads else {}
    derived = _derived_buffers(model) if world.leads else {}
    model.to("meta")
    mesh = init_device_mesh(device.type, (world.size,))
    for block in transformer_blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to_empty(device=device)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, weights, options=options)
    for name, buffer in _derived_buffers(model).items():
        if world.leads:
            buffer.copy_(derived[name])
        broadcast(buffer, 0)


def _derived_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that no state dict holds, as the frequencies of rotary positions."""
    kept = set(model.state_dict())
    return {name: buffer for name, buffer in model.named_buffers() if name not in kept}


def whole_weights(model: nn.Module, *, trained_only: bool = False) -> dict[str, Tensor]:
    """The weights on the CPU, in the leading process; empty in the others; tied ones once, under their first name. All
    processes must call it.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=trained_only)
    found: dict[str, Any] = get_model_state_dict(model, options=options)
    kept = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    return {name: tensor.contiguous() for name, tensor in found.items() if name in kept}


def load_whole_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads whole weights, which every process has read; weights that are not given stay as they are."""
    set_model_state_dict(model, dict(weights), options=_LOAD)


def whole_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer) -> Mapping[str, Any]:
    """The optimiser's state by parameter names, as `whole_weights`."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_optimizer_state_dict(model, optimiser, options=options)


def load_whole_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Loads an optimiser's whole state."""
    set_optimizer_state_dict(model, optimiser, dict(state), options=_LOAD)


def as_number(value: Tensor) -> float:
    """A scalar that may be sharded, as a number; all processes must call it."""
    return float(value.full_tensor() if isinstance(value, DTensor) else value)
