"""Several processes that train one model: each takes a share of every step, their gradients are added up.

Started by torchrun (or by hand with its environment variables). The sum over processes is the gradient of the whole
batch, so that two processes do what one does, to rounding.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among all."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's items of a step; the shares of all are the step, and may differ by one."""
        return list(items[self.rank :: self.size])

    def summed(self, value: float, device: torch.device) -> float:
        """The sum of a number over all processes, the same in each."""
        if self.size == 1:
            return value
        # Not float32: a count of tokens must stay exact.
        total = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return float(total)

    def from_leader(self, value: float, device: torch.device) -> float:
        """The leading process's number, in every process."""
        if self.size == 1:
            return value
        sent: Tensor = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.broadcast(sent, 0)
        return float(sent)

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.size > 1:
            distributed.barrier()


def current_world() -> World:
    """The processes that were joined with `joined`, or this one alone."""
    if distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size())
    return World()


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started, for as long as the block lasts; yields this process's device.

    Without torchrun's WORLD_SIZE, or with one process, nothing is joined and the device is as given.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield device
        return
    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield device if on_gpu else "cpu"
    finally:
        distributed.destroy_process_group()
