"""Loss and gradients of batches, on one device, on the threads of a CPU or over several processes."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.inputs.tensors import Batch
from model.petar.architecture import Petar
from model.petar.config import TrainingSettings
from model.training.parallel import World
from model.training.sharding import shard


@dataclass(frozen=True)
class Placement:
    """Where a model is trained."""

    device: torch.device
    world: World
    sharded: bool
    """Whether weights, gradients and optimiser state are shared by the processes (FSDP2)."""

    def place(self, model: Petar) -> Petar:
        """The model on the device, with the leading process's weights; sharded in place where that is asked for, before
        any process holds the whole on its device.
        """
        if self.sharded:
            shard(model, self.world, self.device)
            return model
        if self.world.leads:
            return model.to(self.device)
        # The weights come from the leading process when gradients are first prepared.
        return model.to_empty(device=self.device)


class Gradients:
    """Computes losses and adds gradients to the trained parameters."""

    def __init__(self, model: Petar, settings: TrainingSettings, placement: Placement) -> None:
        self.model, self.settings, self.placement = model, settings, placement
        self.parameters: Mapping[str, nn.Parameter] = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._pool: ThreadPoolExecutor | None = None
        self._forward: nn.Module = model
        if placement.world.size > 1 and not placement.sharded:
            # Sends the leading process's weights, and reduces gradients while the backward pass still runs.
            self._forward = DistributedDataParallel(
                model, device_ids=[placement.device] if placement.device.type == "cuda" else None
            )

    @contextmanager
    def cpu_threads(self) -> Iterator[None]:
        """Threads for the parts of a batch, as long as the block lasts; none on a GPU or for one part."""
        if self.settings.cpu_parts == 1 or self.placement.device.type != "cpu" or self.placement.world.size > 1:
            yield
            return
        with ThreadPoolExecutor(self.settings.cpu_parts, "parts", torch.set_num_threads, (1,)) as self._pool:
            yield
        self._pool = None

    def loss(self, batch: Batch, *, reduces: bool = False) -> Tensor:
        """Sum of the cross entropy of a batch's answer tokens, in nats.

        Args:
            batch: the samples.
            reduces: whether its backward pass adds up gradients over the processes, which must all be here.
        """
        device = self.placement.device
        batch = batch.to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            forward = self._forward if reduces else self.model
            loss: Tensor = forward(batch.input_ids, batch.attention_mask, batch.images, batch.focal, batch.labels)
            return loss

    def of_step(self, batches: Sequence[Batch | None], silent: Batch | None) -> float:
        """Adds the gradients of a step's batches over all processes; returns the loss, nats per answer token.

        Args:
            batches: this process's share of each of the step's batches; None where it has none.
            silent: a batch without answers for those, where all processes must go through the model together.
        """
        world, device = self.placement.world, self.placement.device
        tokens = world.summed(sum(batch.n_answer_tokens for batch in batches if batch), device)
        loss_sum = 0.0
        for n, batch in enumerate((silent if batch is None else batch for batch in batches), start=1):
            if batch is not None:
                loss_sum += self._backward(batch, tokens, is_last=n == len(batches))
        return world.summed(loss_sum, device)

    def _backward(self, batch: Batch, tokens: float, *, is_last: bool) -> float:
        """Adds a batch's gradients to the parameters' and returns its share of the loss.

        Args:
            batch: the samples.
            tokens: answer tokens of the step over all processes.
            is_last: whether it is the step's last one here, in whose backward pass the processes' gradients are added.
        """
        world = self.placement.world
        if self._pool is None:
            waits = isinstance(self._forward, DistributedDataParallel) and not is_last
            with self._forward.no_sync() if waits else nullcontext():  # type: ignore[operator]  # torch types children loosely
                loss = self.loss(batch, reduces=True) / tokens
                # The mean over processes is taken of what is to be summed.
                (loss * world.size).backward()
            return loss.item()

        def part(rows: Batch) -> tuple[float, Sequence[Tensor | None]]:
            loss = self.loss(rows) / tokens
            return loss.item(), torch.autograd.grad(loss, parameters, allow_unused=True)

        parameters = list(self.parameters.values())
        loss_sum = 0.0
        # In the order of the parts, whichever ends first.
        for share, gradients in self._pool.map(part, batch.parts(self.settings.cpu_parts)):
            loss_sum += share
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return loss_sum
