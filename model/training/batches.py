"""The batches of a stage: which samples each step sees, and their tensors."""

import math
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
    """The steps of a stage: each a list of samples as (epoch, position)."""

    steps: list[list[tuple[int, int]]]
    epoch_ends: set[int]
    """Numbers of the last steps of the epochs, from 1."""

    @classmethod
    def of(cls, n: int, settings: TrainingSettings) -> Self:
        """The plan for `n` samples."""
        steps: list[list[tuple[int, int]]] = []
        ends = set()
        size = settings.batch_size * settings.accumulation
        for epoch in range(settings.epochs):
            steps += epoch_batches(n, size, settings.seed, epoch, settings.samples_per_epoch)
            ends.add(len(steps))
        return cls(steps, ends)

    def epoch(self, step: int) -> int:
        """The epoch of a step (from 0), from 1."""
        return self.steps[step][0][0] + 1

    def n_samples(self, step: int) -> int:
        """Samples of a step, over all processes."""
        return len(self.steps[step])

    def n_batches(self, step: int, settings: TrainingSettings, world: World) -> int:
        """Batches of a step, the same in every process: its samples are dealt out, and each share cut into batches."""
        return math.ceil(math.ceil(len(self.steps[step]) / world.size) / settings.batch_size)


@dataclass(frozen=True)
class Batches:
    """Makes the batches of a dataset."""

    data: LesionDataset
    pad_id: int
    settings: TrainingSettings

    def of_plan(self, plan: StepPlan, first_step: int, world: World, *, pin_memory: bool) -> Iterator[Batch | None]:
        """The batches of this process's share of every step from a step on; None where another has one more."""
        steps = range(first_step, len(plan.steps))
        keys = [batch for step in steps for batch in self.share_of_step(plan, step, world)]
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

    def share_of_step(self, plan: StepPlan, step: int, world: World) -> list[list[tuple[int, int]]]:
        """This process's batches of a step, of samples of like length, so that little is padded."""
        encoded, size = self.data.encoded, self.settings.batch_size
        by_length = sorted(plan.steps[step], key=lambda key: len(encoded[key[1]].prompt) + len(encoded[key[1]].answer))
        own = world.share(by_length)
        return [own[n * size : (n + 1) * size] for n in range(plan.n_batches(step, self.settings, world))]

    def in_order(self) -> Iterator[Batch]:
        """All samples once, in their order."""
        size = self.settings.batch_size
        for start in range(0, len(self.data), size):
            items = [self.data[i] for i in range(start, min(start + size, len(self.data)))]
            yield collate(items, self.pad_id)

    def _collate(self, items: Sequence[Item]) -> Batch | None:
        return collate(items, self.pad_id) if items else None
