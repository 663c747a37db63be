"""What a killed stage resumes from: weights, optimiser and progress on disk."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.petar.checkpoints import read_tensors, recover_folder, write_folder_atomically
from model.training.parallel import World
from model.training.sharding import load_whole_optimiser, load_whole_weights, whole_optimiser, whole_weights

_PROGRESS, _WEIGHTS, _OPTIMISER = "progress.json", "weights.safetensors", "optimiser.pt"


@dataclass
class Progress:
    """How far a stage has come."""

    step: int = 0
    """Steps that are done."""
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    """One log entry a step."""
    best: list[float] | None = None
    """What the best epoch reached, higher is better: its right fields and then its loss, negative."""
    best_epoch: int | None = None
    epochs_since_best: int = 0
    stopped: bool = False
    """Whether early stopping ended the stage."""


@dataclass(frozen=True)
class SavedState:
    """The folders `resume` and `best` of a stage. The leading process writes; every process calls every method."""

    out_dir: Path
    identity: str
    """Of the request: the state of another one is not resumed."""
    model: nn.Module
    optimiser: torch.optim.Optimizer
    world: World

    @property
    def _resume(self) -> Path:
        return self.out_dir / "resume"

    @property
    def _best(self) -> Path:
        return self.out_dir / "best"

    def save(self, progress: Progress) -> None:
        """Saves trained weights, optimiser and progress; a kill while it writes leaves the last state."""
        weights, optimiser = whole_weights(self.model, trained_only=True), whole_optimiser(self.model, self.optimiser)

        def write(folder: Path) -> None:
            save_file(weights, str(folder / _WEIGHTS))
            torch.save(optimiser, folder / _OPTIMISER)
            (folder / _PROGRESS).write_text(json.dumps({"identity": self.identity, **asdict(progress)}))

        if self.world.leads:
            write_folder_atomically(self._resume, write)

    def load(self) -> Progress | None:
        """Loads the saved state of this request into model and optimiser and returns its progress; None, and another
        request's state is removed, where there is none.
        """
        recover_folder(self._resume)
        path = self._resume / _PROGRESS
        stored = json.loads(path.read_text()) if path.is_file() else {}
        if stored.pop("identity", None) != self.identity:
            # All processes must have looked before one removes it.
            self.world.wait()
            self.remove()
            return None
        load_whole_weights(self.model, self._read(self._resume))
        state = torch.load(self._resume / _OPTIMISER, map_location="cpu", weights_only=True)
        load_whole_optimiser(self.model, self.optimiser, state)
        return Progress(**stored)

    def save_best(self) -> None:
        """Saves the trained weights as those of the best epoch."""
        weights = whole_weights(self.model, trained_only=True)
        if self.world.leads:
            write_folder_atomically(self._best, lambda folder: save_file(weights, str(folder / _WEIGHTS)))

    def load_best(self) -> None:
        """Loads the weights of the best epoch; without one the model stays as it is."""
        if self._best.is_dir():
            load_whole_weights(self.model, self._read(self._best))

    def remove(self) -> None:
        """Removes both folders."""
        if self.world.leads:
            shutil.rmtree(self._resume, ignore_errors=True)
            shutil.rmtree(self._best, ignore_errors=True)

    @staticmethod
    def _read(folder: Path) -> dict[str, Tensor]:
        return read_tensors(folder / _WEIGHTS)
