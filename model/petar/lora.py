"""Low-rank adaptation of the language model (Hu et al. 2021, arXiv 2106.09685) with PEFT: two thin matrices beside each
linear layer, kept as a PEFT adapter and merged into the layer for saving.
"""

import json
from pathlib import Path

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from model.petar.architecture import Petar

TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
"""Phi-3's linear layers."""

_TRAINED_WHOLE = ("embed_tokens", "lm_head")
_ADAPTER = ".default."
_PREFIX = "base_model.model."


def is_trained_beside_lora(name: str) -> bool:
    """Whether a parameter of the language model is trained where LoRA is: its matrices and, as M3D does, the embedding
    and the output layer, which hold the added tokens.
    """
    return ".lora_" in name or any(f".{layer}." in name for layer in _TRAINED_WHOLE)


def add_lora(model: Petar, rank: int, alpha: float) -> int:
    """Puts LoRA beside every target layer of the language model; returns how many. It starts as zero, so that an
    untrained one changes nothing.
    """
    if rank < 1:
        raise ValueError(f"expected a LoRA rank >= 1, got {rank}")
    inject_adapter_in_model(_config(rank, alpha), model.language)
    return len(_layers(model.language))


def merge_lora(model: Petar) -> int:
    """Merges every LoRA into its layer, so that the model has its own names again; returns how many."""
    return merge_layers(model.language)


def merge_layers(module: nn.Module) -> int:
    """`merge_lora` of any module."""
    found = _layers(module)
    for parent, name, layer in found:
        layer.merge()
        setattr(parent, name, layer.get_base_layer())
    return len(found)


def save_adapter(folder: Path, model: Petar, rank: int, alpha: float) -> None:
    """Writes LoRA, embedding and output layer into an existing folder, as PEFT reads them (`PeftModel.from_pretrained`)
    over the language model that training started from.
    """
    tensors: dict[str, Tensor] = {}
    # PEFT wants both layers where they are tied, too.
    for name, parameter in model.language.named_parameters(remove_duplicate=False):
        if is_trained_beside_lora(f".{name}"):
            tensors[_PREFIX + name.replace(_ADAPTER, ".")] = parameter.detach().cpu().clone()
    save_file(tensors, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    config = _config(rank, alpha)
    is_tied = model.language.config.tie_word_embeddings
    config.modules_to_save = list(_TRAINED_WHOLE[:1] if is_tied else _TRAINED_WHOLE)
    config.ensure_weight_tying, config.inference_mode = is_tied, True
    stored = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    (folder / "adapter_config.json").write_text(json.dumps(stored, indent=1, default=str))


def _config(rank: int, alpha: float) -> LoraConfig:
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT divides it by the rank
        target_modules=list(TARGETS),
        task_type="CAUSAL_LM",
    )


def _layers(language: nn.Module) -> list[tuple[nn.Module, str, LoraLayer]]:
    return [
        (parent, name, child)
        for parent in language.modules()
        for name, child in parent.named_children()
        if isinstance(child, LoraLayer)
    ]
