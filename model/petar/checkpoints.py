"""A checkpoint is one folder: weights, configuration, tokenizer, and the contract of what goes in; whole or not
there.
"""

import json
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.petar.architecture import Petar, language_model
from model.petar.config import IMAGE_TOKEN, NUMBER_TOKEN, ModelConfig
from model.petar.tokenizer import PetarTokenizer, load_tokenizer
from pipelines.settings import QUESTION
from pipelines.tables import atomic
from pipelines.tables.errors import reason_of

CHECKPOINT_FORMAT = 1
WEIGHTS, CONTRACT = "model.safetensors", "model.json"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, written or used for this model; the message says what to do."""


@dataclass(frozen=True)
class StageRecord:
    """What one training stage did to the weights: an entry of a checkpoint's lineage."""

    stage: str
    data: str
    """Hash of the samples it was trained on."""
    n_samples: int
    steps: int
    loss_first: float | None
    loss_last: float | None
    val_loss: float | None
    settings: dict[str, Any] = field(default_factory=dict)
    curation: str = ""
    """Version of the curation that the samples are of; empty where it is not known."""
    questions: tuple[str, ...] = ()
    """What was asked of the samples."""


@dataclass(frozen=True)
class Contract:
    """`model.json`: all that a user of the weights must know."""

    config: ModelConfig
    lineage: tuple[StageRecord, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = CHECKPOINT_FORMAT

    @property
    def questions(self) -> tuple[str, ...]:
        """What the weights were trained to answer; the first is asked where a user asks nothing."""
        trained = [question for record in reversed(self.lineage) for question in record.questions]
        return self.config.layout.questions or tuple(dict.fromkeys(trained)) or (QUESTION,)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the inputs described for readers that do not know this package."""
        z, y, x = self.config.vision.image_shape
        inputs, layout = self.config.inputs, self.config.layout
        pet, ct = list(inputs.pet_window_suv), list(inputs.ct_window_hu)
        channel = {
            "shape": [z, y, x],
            "axes": f"z from the head, y from the front, x from the patient's {layout.x_from}",
            "dtype": "float32",
            "range": [0, 1],
        }
        return {
            "format_version": self.format_version,
            "config": self.config.to_dict(),
            "config_digest": self.config.digest,
            "inputs": {
                "pet": {**channel, "unit": "SUV by body weight", "window": pet},
                "ct": {**channel, "unit": "HU", "window": ct, "without_ct": 0.0},
                "mask": {**channel, "values": [0, 1]},
                "window_to": "low..high to 0..1, clipped; beyond the exam and where not a number 0",
                "border": layout.border,
                "resize": layout.resize,
                "foreground_crop": layout.foreground_crop,
                "crops": ["global", "focal"] if self.config.use_focal else ["global"],
                "channels_seen": ["pet", *(["ct"] if self.config.use_ct else []), *(["mask"] * self.config.use_mask)],
                "spacing_mm": inputs.spacing_mm,
                "text": {
                    "questions": list(self.questions),
                    "encoded": layout.text,
                    "image_token": IMAGE_TOKEN,
                    "image_tokens": self.config.n_visual_tokens,
                },
                "max_tokens": self.config.max_length,
            },
            "outputs": {
                "text": "the answer, ended by the tokenizer's end token",
                "number_token": NUMBER_TOKEN if self.config.mask_numbers else None,
            },
            "data": {record.stage: record.data for record in self.lineage},
            "lineage": [vars(record) for record in self.lineage],
            "versions": dict(self.versions),
        }

    def card(self) -> str:
        """A model card in Markdown, with the front matter that hubs read."""
        inputs, (z, y, x) = self.config.inputs, self.config.vision.image_shape
        lines = [
            "---", "pipeline_tag: image-text-to-text", "tags: [pet-ct, petar, medical]", "---", "",
            f"# {self.config.name}", "",
            f"Describes a lesion of a PET/CT, given its mask. `{CONTRACT}` says what goes in and what comes out.",
            "",
            f"- PET in SUV, window {inputs.pet_window_suv}; CT in HU, window {inputs.ct_window_hu}; mask 0 or 1",
            f"- {inputs.spacing_mm:g} mm, crops of {z} x {y} x {x} (z, y, x), x from the patient's "
            f"{self.config.layout.x_from}",
            f"- asked: {' / '.join(self.questions)}",
            f"- made with {', '.join(f'{name} {version}' for name, version in self.versions.items())}", "",
            "| stage | samples | steps | validation loss | hash of the data |", "| --- | --- | --- | --- | --- |",
        ]  # fmt: skip
        for r in self.lineage:
            loss = "" if r.val_loss is None else f"{r.val_loss:.3f}"
            lines.append(f"| {r.stage} | {r.n_samples} | {r.steps} | {loss} | `{r.data}` |")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Contract":
        """The contract written by `to_dict`."""
        version = data.get("format_version")
        if version != CHECKPOINT_FORMAT:
            raise CheckpointError(
                f"expected a checkpoint of format {CHECKPOINT_FORMAT}, got {version}: use the release that wrote it"
            )
        config = {**data["config"], "inputs": {**data["config"]["inputs"]}}
        # Earlier releases wrote it here, where every preset had `area`, today's default of the layout.
        if config["inputs"].get("resize") == "area":
            del config["inputs"]["resize"]
        return cls(
            ModelConfig.from_dict(config),
            tuple(StageRecord(**{**r, "questions": tuple(r.get("questions", ()))}) for r in data["lineage"]),
            dict(data["versions"]),
            version,
        )


def versions() -> dict[str, str]:
    """Versions of what the weights and their inputs depend on."""
    packages = ("petar", "torch", "transformers", "tokenizers", "monai", "numpy")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # The project itself may run from a checkout that was not installed.
        return "not installed"


@dataclass(frozen=True)
class LoadReport:
    """Which tensors a load found, by name."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """Wanted by the model, not in the file: they keep their values."""
    unexpected: tuple[str, ...]
    """In the file, not wanted by the model."""
    mismatched: tuple[str, ...] = ()
    """In both, of another shape; each with both shapes."""

    def summary(self) -> str:
        """One line for a log."""
        return f"{len(self.loaded)} loaded, {len(self.missing)} missing, {len(self.unexpected)} unexpected"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def load_weights(
    module: torch.nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    allow_missing: bool = False,
    allow_unexpected: bool = False,
    source: str = "the file",
) -> LoadReport:
    """Copies tensors into a module by name and reports them. Nothing is copied unless everything fits.

    Raises CheckpointError on a tensor of another shape, and on missing or unexpected ones unless they are allowed.
    """
    wanted = own_state(module)
    mismatched = tuple(
        f"{n}: model {tuple(wanted[n].shape)}, file {tuple(t.shape)}"
        for n, t in tensors.items()
        if n in wanted and wanted[n].shape != t.shape
    )
    report = LoadReport(
        tuple(n for n in wanted if n in tensors),
        tuple(n for n in wanted if n not in tensors),
        # A tied tensor counts once.
        tuple(n for n in tensors if n not in wanted and n not in module.state_dict()),
        mismatched,
    )
    if mismatched:
        raise CheckpointError(
            f"expected tensors of this model's shapes, {source} has {_some(mismatched)}: use the configuration "
            "it was trained with"
        )
    if report.missing and not allow_missing:
        raise CheckpointError(
            f"expected all tensors of the model, {source} lacks {_some(report.missing)}: allow_missing keeps "
            "their initial values"
        )
    if report.unexpected and not allow_unexpected:
        raise CheckpointError(
            f"expected only tensors of the model, {source} has {_some(report.unexpected)} too: allow_unexpected "
            "drops them"
        )
    for name in report.loaded:
        wanted[name].copy_(tensors[name])
    return report


def own_state(module: torch.nn.Module) -> dict[str, Tensor]:
    """The state of a module, detached but of its own memory; tied parameters once, under their first name."""
    kept = {name for name, _ in module.named_parameters()} | {name for name, _ in module.named_buffers()}
    return {name: tensor for name, tensor in module.state_dict().items() if name in kept}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict


def read_names(path: Path) -> list[str]:
    """The names of the tensors of a safetensors file."""
    with _opened(path) as file:
        return list(file.keys())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"expected weights at {path}, cannot read them ({reason_of(error)}): train the stage again"
        ) from error


def _tensor_shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of one tensor of a safetensors file, from its header alone."""
    try:
        with safe_open(path, framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"expected weights at {path}, cannot read them: train the stage again") from error


def write_folder_atomically(folder: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a new folder beside and puts it in the place of `folder`, which stays as it was until then.

    A kill at any moment leaves the old folder or the new one (or, between two renames, the old one under a name that
    `recover_folder` finds). Raises CheckpointError on a full disk, with the old folder untouched.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    old = _old_name(folder)
    try:
        beside.mkdir()
        write(beside)
        for path in [*beside.rglob("*"), beside]:
            atomic.flush(path)
        if folder.exists():
            # The last good one is still whole; what an earlier kill left behind is not needed beside it.
            shutil.rmtree(old, ignore_errors=True)
            os.rename(folder, old)
        os.rename(beside, folder)
        atomic.flush(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        recover_folder(folder)
        free = shutil.disk_usage(folder.parent).free / 1e9
        raise CheckpointError(
            f"expected to write the checkpoint {folder}, failed ({reason_of(error)}); {free:.1f} GB are free: "
            "make room and start again, the last good checkpoint is kept"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _old_name(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def recover_folder(folder: Path) -> None:
    """Puts the old folder back where a kill came between the two renames, and removes what killed writers left."""
    old = _old_name(folder)
    if folder.exists():
        # A kill after the second rename leaves both.
        shutil.rmtree(old, ignore_errors=True)
    elif old.is_dir():
        os.rename(old, folder)
    if folder.parent.is_dir():
        for partial in folder.parent.glob(f".{folder.name}.*.partial"):
            shutil.rmtree(partial, ignore_errors=True)


def write_checkpoint(folder: Path, model: Petar, tokenizer: PetarTokenizer, contract: Contract) -> None:
    """Writes weights, contract and tokenizer into an existing folder; `save_checkpoint` is the atomic way."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in own_state(model).items()}
    save_file(tensors, str(folder / WEIGHTS), metadata={"format": "pt"})
    (folder / CONTRACT).write_text(json.dumps(contract.to_dict(), indent=1))
    tokenizer.save(folder)


def save_checkpoint(folder: Path, model: Petar, tokenizer: PetarTokenizer, contract: Contract) -> None:
    """Saves a checkpoint so that the folder is whole or, on any failure, as it was."""
    write_folder_atomically(folder, lambda part: write_checkpoint(part, model, tokenizer, contract))


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    model: Petar
    tokenizer: PetarTokenizer
    contract: Contract
    report: LoadReport
    folder: Path


def read_contract(folder: Path) -> Contract:
    """The contract of a checkpoint, without its weights."""
    recover_folder(folder)
    path = folder / CONTRACT
    if not path.is_file():
        raise CheckpointError(
            f"expected a checkpoint folder with {CONTRACT}, got {folder}: train the stage that makes it"
        )
    try:
        return Contract.from_dict(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"expected a readable {path}, got {reason_of(error)}: train the stage again") from error


def build_model(config: ModelConfig, tokenizer: PetarTokenizer, vocab_size: int | None = None) -> Petar:
    """A PETAR with random weights for a tokenizer, drawn from torch's global generator."""
    size = len(tokenizer) if vocab_size is None else vocab_size
    language = language_model(config.language, size, tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id)
    return Petar(config, language, tokenizer.image_id)


def build_empty_model(config: ModelConfig, tokenizer: PetarTokenizer, vocab_size: int | None = None) -> Petar:
    """A PETAR on torch's meta device: shapes, and no values."""
    with torch.device("meta"):
        return build_model(config, tokenizer, vocab_size)


def load_checkpoint(
    folder: Path, *, expected: ModelConfig | None = None, allow_missing: bool = False, with_weights: bool = True
) -> Checkpoint:
    """The model of a checkpoint in evaluation mode, on the CPU; without `with_weights` on the meta device.

    `expected` is the configuration it is to be used with: another tower or language model is an error that names the
    first differences. Switches may differ: tensors that the switches add are then missing, and need `allow_missing`.
    """
    folder = Path(folder)
    contract = read_contract(folder)
    config = expected or contract.config
    for part in ("vision", "language"):
        ours, theirs = getattr(config, part).to_dict(), getattr(contract.config, part).to_dict()
        different = {
            k: (theirs[k], ours[k])
            for k in ours
            if ours[k] != theirs[k] and k not in ("attention", "vocab_size", "max_positions")
        }
        if different:
            wanted = ", ".join(f"{k} {new} (checkpoint {old})" for k, (old, new) in different.items())
            raise CheckpointError(
                f"expected a checkpoint with {part} {wanted}, got {folder}: start from another one or change the preset"
            )
    tokenizer = load_tokenizer(folder)
    vocab_size = _tensor_shape(folder / WEIGHTS, "language.model.embed_tokens.weight")[0]
    if not with_weights:
        empty = build_empty_model(config, tokenizer, vocab_size)
        return Checkpoint(empty.eval(), tokenizer, contract, LoadReport((), (), ()), folder)
    tensors = read_tensors(folder / WEIGHTS)
    model = build_model(config, tokenizer, vocab_size)
    report = load_weights(model, tensors, allow_missing=allow_missing, source=str(folder))
    return Checkpoint(model.eval(), tokenizer, contract, report, folder)
