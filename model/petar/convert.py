"""A public release as a checkpoint folder, which the command line, the server and the training stages take:
`petar model convert`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.petar.checkpoints import CheckpointError, Contract, LoadReport, build_model, save_checkpoint, versions
from model.petar.config import LayoutConfig, ModelConfig, model_config
from model.petar.hub import local_path
from model.petar.layouts import expected_inputs
from model.petar.tokenizer import load_tokenizer
from model.petar.weights import DTYPES, load_public_weights, tensor_names
from pipelines.settings import ModelSettings, validated


def convert(
    sources: Sequence[Path | str],
    folder: Path,
    config: ModelConfig,
    *,
    tokenizer: Path | str | None = None,
    allow_missing: bool = False,
    dtype: str = "bfloat16",
) -> LoadReport:
    """Writes a checkpoint with the weights of releases, put in one after the other, and reports every tensor.

    How an exam becomes inputs is set by the layout of the weights.

    A source is a file, a folder or a hub id; so is `tokenizer`, without which the first source with a tokenizer is
    taken. Tensors of a source that no part of PETAR takes are reported as `unexpected`. Parts that no source holds are
    an error unless `allow_missing` lets them start untrained. Raises CheckpointError, with nothing written, also where
    shapes differ.
    """
    paths = [local_path(source) for source in sources]
    config = with_layout(config, paths)
    words = load_tokenizer(_tokenizer_folder(paths) if tokenizer is None else local_path(tokenizer))
    with _default_dtype(DTYPES[dtype]):
        model = build_model(config, words, max(len(words), config.language.vocab_size))
    loaded: dict[str, None] = {}
    unexpected: dict[str, None] = {}
    for path in paths:
        # What one source lacks another may bring; what none does is told below.
        report = load_public_weights(model, path, allow_missing=True, allow_unexpected=True)
        loaded |= dict.fromkeys(report.loaded)
        unexpected |= dict.fromkeys(report.unexpected)
    missing = tuple(name for name in model.state_dict() if name not in loaded)
    if missing and not allow_missing:
        raise CheckpointError(
            f"expected weights for all of {config.name}, {', '.join(map(str, sources))} lack {len(missing)} tensors "
            f"({', '.join(missing[:5])}): add a source that has them, change the configuration, or let them start "
            "untrained (--allow-missing)"
        )
    save_checkpoint(folder, model, words, Contract(config, (), versions()))
    return LoadReport(tuple(loaded), missing, tuple(unexpected))


def with_layout(config: ModelConfig, sources: Sequence[Path]) -> ModelConfig:
    """The configuration with the inputs that the first release among the sources was trained on, unless its own layout
    was changed.
    """
    layouts = (expected_inputs(tensor_names(source)) for source in sources)
    layout = next((found for found in layouts if found is not None), None)
    return config if layout is None or config.layout != LayoutConfig() else replace(config, layout=layout)


def _tokenizer_folder(paths: Sequence[Path]) -> Path:
    for path in paths:
        folder = path if path.is_dir() else path.parent
        if (folder / "tokenizer_config.json").is_file():
            return folder
    raise CheckpointError(
        f"expected a tokenizer (tokenizer_config.json) beside the weights in {', '.join(map(str, paths))}, found none: "
        "give it with --tokenizer"
    )


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What is built inside has weights of this dtype: at 4 B parameters float32 would take twice the memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def released_config(preset_name: str, changes: Mapping[str, Any]) -> ModelConfig:
    """The preset with settings changed by name, nested ones too, as `[model]` takes them.

    Unless changed, two are as in the public releases: numbers are part of the text, and the focal crop is the mask's
    box with a margin. Raises SettingsError where a change is no setting or out of its range.
    """
    inputs = {"focal_crop": "box", **changes.get("inputs", {})}
    values = {"preset": preset_name, "mask_numbers": False, **changes, "inputs": inputs}
    return model_config(validated(ModelSettings, values, "--set"))
