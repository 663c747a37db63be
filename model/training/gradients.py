"""Loss and gradients of batches, on one device, on the threads of a CPU or over several processes."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
        """The model on the device, sharded in place where that is asked for."""
        model = model.to(self.device)
        if self.sharded:
            shard(model, self.world, self.device)
        return model


class Gradients:
    """Computes losses and adds gradients to the trained parameters."""

    def __init__(self, model: Petar, settings: TrainingSettings, placement: Placement) -> None:
        self.model, self.settings, self.placement = model, settings, placement
        self.parameters: Mapping[str, nn.Parameter] = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._pool: ThreadPoolExecutor | None = None

    @contextmanager
    def cpu_threads(self) -> Iterator[None]:
        """Threads for the parts of a batch, as long as the block lasts; none on a GPU or for one part."""
        if self.settings.cpu_parts == 1 or self.placement.device.type != "cpu":
            yield
            return
        with ThreadPoolExecutor(self.settings.cpu_parts, "parts", torch.set_num_threads, (1,)) as self._pool:
            yield
        self._pool = None

    def loss(self, batch: Batch) -> Tensor:
        """Sum of the cross entropy of a batch's answer tokens, in nats."""
        device = self.placement.device
        batch = batch.to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            return self.model(batch.input_ids, batch.attention_mask, batch.images, batch.focal, batch.labels)

    def of_step(self, batches: Sequence[Batch | None], silent: Batch | None) -> float:
        """Adds the gradients of a step's batches over all processes; returns the loss, nats per answer token.

        Args:
            batches: this process's share of each of the step's batches; None where it has none.
            silent: a batch without answers for those, where all processes must go through the model together.
        """
        world, device = self.placement.world, self.placement.device
        tokens = world.summed(sum(batch.n_answer_tokens for batch in batches if batch), device)
        loss_sum = 0.0
        for batch in (silent if batch is None else batch for batch in batches):
            if batch is not None:
                loss_sum += self._backward(batch, tokens)
        if not self.placement.sharded:
            world.sum_gradients(self.parameters.values())
        return world.summed(loss_sum, device)

    def _backward(self, batch: Batch, tokens: float) -> float:
        """Adds a batch's gradients to the parameters' and returns its share of the loss."""
        if self._pool is None:
            loss = self.loss(batch) / tokens
            # FSDP averages over processes what is to be summed.
            (loss * (self.placement.world.size if self.placement.sharded else 1)).backward()
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
