"""What a training stage is asked to do: samples, model, settings, start and output folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import polars as pl

from model.petar.architecture import Petar
from model.petar.checkpoints import read_contract
from model.petar.config import ModelConfig, TrainingSettings, TrainingStage
from model.petar.tokenizer import PetarTokenizer
from model.training.samples import data_hash, spread
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.provenance import code_version


@dataclass(frozen=True)
class StageSamples:
    """Rows of the table `samples` that a stage learns from and is validated on."""

    train: pl.DataFrame
    val: pl.DataFrame
    home: Home
    """The paths in the rows are relative to its root."""
    texts: tuple[str, ...] = ()
    """Further texts for the tokenizer and the language model, used where the stage starts without a checkpoint."""
    curation: str = ""
    """Version of the curation that the samples are of; the checkpoint names it. Empty where it is not known."""

    @classmethod
    def of(cls, samples: pl.DataFrame, home: Home, *, texts: tuple[str, ...] = (), curation: str = "") -> Self:
        """The training and validation splits of some samples."""
        train, val = (samples.filter(pl.col("split") == split) for split in ("train", "val"))
        return cls(train, val, home, texts, curation)


@dataclass(frozen=True)
class StageRequest:
    """One stage of training."""

    stage: TrainingStage
    samples: StageSamples
    config: ModelConfig
    settings: TrainingSettings
    out_dir: Path
    init: Path | None = None
    """Checkpoint folder that the stage starts from. None: it starts from the settings' weights or random ones, with a
    tokenizer trained on the samples' texts and on `samples.texts`.
    """
    reuse: bool = True
    """Whether a finished checkpoint of an equal request is returned as it is."""
    device: str = "auto"
    made_by: Literal["asset", "command line"] = "asset"
    """Who asks; kept with the result."""

    @property
    def checkpoint(self) -> Path:
        """Folder of the stage's checkpoint."""
        return self.out_dir / "checkpoint"

    @property
    def validation(self) -> pl.DataFrame:
        """The validation samples that are scored after each epoch."""
        return spread(self.samples.val, self.settings.validation_samples)

    def identity(self, train_hash: str) -> str:
        """Hash of all that decides the weights; equal requests have equal ones.

        Args:
            train_hash: `data_hash` of the training samples.
        """
        # What does not change the weights does not change the identity.
        fixed = replace(self.settings, workers=0, threads=0, save_every_s=0.0, loggers=()).to_dict()
        start = None if self.init is None else read_contract(self.init).to_dict()
        val_hash = data_hash(self.validation, self.samples.home)
        texts = sorted(set(self.samples.texts))
        code = code_version("model.training.train")
        return hash_of(code, self.stage, train_hash, val_hash, self.config.to_dict(), fixed, start, texts)


@dataclass(frozen=True)
class Hooks:
    """What is called while a stage trains."""

    on_step: Callable[[Mapping[str, float]], None] | None = None
    """With the log entry of each step."""
    on_start: Callable[[int, int], None] | None = None
    """With the steps that are done when it starts or goes on, and the steps of the whole stage."""
    on_epoch: Callable[[Petar, PetarTokenizer, int], None] | None = None
    """With the model as it is and the number of the epoch that ended, from 1."""
