"""The batches of a stage: which samples each step sees, and their tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch.utils.data import DataLoader

from model.inputs.tensors import Batch, Item, LesionDataset, collate, epoch_batches
from model.inputs.threads import prefetched
from model.petar.config import TrainingSettings
from model.training.parallel import World

_LOADER_AHEAD = 4
"""Batches that each worker process prepares in advance."""


@dataclass(frozen=True)
class StepPlan:
    """The steps of a stage: each a list of batches of (epoch, position)."""

    steps: list[list[list[tuple[int, int]]]]
    epoch_ends: set[int]
    """Numbers of the last steps of the epochs, from 1."""

    @classmethod
    def of(cls, n: int, settings: TrainingSettings) -> Self:
        """The plan for `n` samples."""
        steps: list[list[list[tuple[int, int]]]] = []
        ends = set()
        for epoch in range(settings.epochs):
            batches = list(epoch_batches(n, settings.batch_size, settings.seed, epoch, settings.samples_per_epoch))
            steps += [batches[i : i + settings.accumulation] for i in range(0, len(batches), settings.accumulation)]
            ends.add(len(steps))
        return cls(steps, ends)

    def epoch(self, step: int) -> int:
        """The epoch of a step (from 0), from 1."""
        return self.steps[step][0][0][0] + 1

    def n_samples(self, step: int) -> int:
        """Samples of a step, over all processes."""
        return sum(map(len, self.steps[step]))


@dataclass(frozen=True)
class Batches:
    """Makes the batches of a dataset."""

    data: LesionDataset
    pad_id: int
    settings: TrainingSettings

    def of_plan(self, plan: StepPlan, first_step: int, world: World, *, pin_memory: bool) -> Iterator[Batch | None]:
        """This process's share of every batch from a step on; None where more processes than samples share one."""
        keys = [world.share(batch) for step in plan.steps[first_step:] for batch in step]
        if not self.settings.workers:
            # A thread and no process: it shares the exam cache, and nothing is forked in a process that has threads.
            return prefetched(keys, lambda batch: self._collate([self.data[key] for key in batch]))
        loader: DataLoader[Any] = DataLoader(
            self.data,
            batch_sampler=keys,  # type: ignore[arg-type]  # torch types it as lists of int; ours are (epoch, position)
            collate_fn=self._collate,
            num_workers=self.settings.workers,
            pin_memory=pin_memory,
            prefetch_factor=_LOADER_AHEAD,
        )
        return iter(loader)

    def in_order(self) -> Iterator[Batch]:
        """All samples once, in their order."""
        size = self.settings.batch_size
        for start in range(0, len(self.data), size):
            items = [self.data[i] for i in range(start, min(start + size, len(self.data)))]
            yield collate(items, self.pad_id)

    def _collate(self, items: Sequence[Item]) -> Batch | None:
        return collate(items, self.pad_id) if items else None
