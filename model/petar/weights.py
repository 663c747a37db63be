"""Public weights into PETAR: M3D-CLIP, M3D-LaMed and M3D-RAD, the PETAR release, Phi-3 and Llama, by the names of their
tensors.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from model.petar.architecture import Petar
from model.petar.checkpoints import CheckpointError, LoadReport, load_weights, read_names, read_tensors
from model.petar.layouts import RELEASE_TOWERS, Layout, detect_layout, tower_name
from model.petar.tokenizer import PetarTokenizer
from pipelines.tables.errors import reason_of

GGUF = ".gguf"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What weights may be stored in, by the names that settings and command lines use."""

_RELEASE_PROJECTOR = "model.mm_projector."
# What M3D's models hold beside what PETAR is made of: a segmentation head, and CLIP's text side.
_FOREIGN = ("model.seg_", "seg_", "language_encoder.", "mm_language_proj.", "mm_vision_proj.", "logit_scale")
_UNUSED = ".norm_cross_attn."
"""Norms that MONAI's blocks hold for cross attention, which a tower of images never computes: some files have them."""


def _own_names(name: str, layout: Layout, two_towers: bool) -> list[str]:
    """Names in PETAR of one tensor of a file; several where one tower serves as two; none for what PETAR has no part
    of.
    """
    if layout is Layout.OWN:
        return [name]
    if layout is Layout.M3D_CLIP:
        inner = tower_name(name)
        return [] if inner is None else _towers(inner, two_towers)
    if name.startswith(RELEASE_TOWERS):
        inner = name[len(RELEASE_TOWERS) :]
        if ".patch_embedding_mask." in f".{inner}":
            return ["vision.mask_embedding." + inner.partition("patch_embedding_mask.")[2]]
        part, _, rest = inner.partition(".")
        if layout is Layout.M3D:
            return _towers(rest, two_towers)
        return [f"vision.{'ct' if part == 'ct_tower' else 'pet'}_tower.{rest}"]
    if name.startswith(_RELEASE_PROJECTOR):
        return ["projector." + name[len(_RELEASE_PROJECTOR) :]]
    if name.startswith(("model.", "lm_head.")) and not name.startswith(_FOREIGN):
        return ["language." + name]
    return []


def _towers(inner: str, two_towers: bool) -> list[str]:
    return [f"vision.pet_tower.{inner}", *([f"vision.ct_tower.{inner}"] if two_towers else [])]


def own_tensors(
    tensors: Mapping[str, Tensor], model: Petar, layout: Layout | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """(tensors under PETAR's names, names in the file that PETAR has no part of).

    The embedding and output rows of a language model with another vocabulary are cut or, where the model has more, kept
    from the model: added tokens keep their start.
    """
    layout = layout or detect_layout(tensors)
    tensors = _fused(tensors)
    two_towers = hasattr(model.vision, "ct_tower")
    found: dict[str, Tensor] = {}
    foreign = []
    wanted = dict(model.named_parameters(remove_duplicate=False))
    for name, tensor in tensors.items():
        if _UNUSED in name:
            continue
        names = _own_names(name, layout, two_towers)
        if not names:
            foreign.append(name)
        elif layout in _ONE_TOWER and names[-1] == _CT_CLASS_TOKEN and _CT_CLASS_TOKEN not in wanted:
            names = names[:-1]
        for own in names:
            found[own] = _fit_vocabulary(own, tensor, wanted)
    embedding, head = _VOCABULARY
    if embedding in found and head not in found:
        # Tied in the file, which then holds them once.
        found[head] = found[embedding]
    return found, foreign


_ONE_TOWER = (Layout.M3D, Layout.M3D_CLIP)
_CT_CLASS_TOKEN = "vision.ct_tower.cls_token"


_VOCABULARY = ("language.model.embed_tokens.weight", "language.lm_head.weight")
_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Phi-3's layers, and those of Llama that stand in them one below the other."""


def _fused(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a language model with Llama's layers joined to Phi-3's; all others as they are."""
    found = dict(tensors)
    for whole, parts in _FUSED.items():
        for name in tensors:
            before, _, after = name.partition(f".{parts[0]}.")
            names = [f"{before}.{part}.{after}" for part in parts]
            if after and before.startswith("model.layers.") and all(n in found for n in names):
                found[f"{before}.{whole}.{after}"] = torch.cat([found.pop(n) for n in names])
    return found


def _fit_vocabulary(name: str, tensor: Tensor, wanted: Mapping[str, Tensor]) -> Tensor:
    if name not in _VOCABULARY or name not in wanted or tensor.shape[1:] != wanted[name].shape[1:]:
        return tensor
    rows = wanted[name].shape[0]
    if tensor.shape[0] >= rows:
        return tensor[:rows]
    return torch.cat((tensor.to(wanted[name].dtype), wanted[name].detach()[tensor.shape[0] :]))


def load_public_weights(
    model: Petar,
    source: Path | Mapping[str, Tensor],
    *,
    layout: Layout | None = None,
    allow_missing: bool | None = None,
    allow_unexpected: bool = False,
) -> LoadReport:
    """Loads a public release into a model and reports every tensor; `unexpected` are those that no part of PETAR takes.

    `source` is a file (.safetensors, .bin, .pt), a folder of shards, or tensors by name. What a layout never holds may
    be missing: all but the towers for M3D-CLIP, all but the language model for Phi-3, the mask embedding and the second
    half of the projector for M3D; `allow_missing` overrides that. M3D's segmentation head and CLIP's text side count as
    unexpected.
    """
    tensors = read_weights(source) if isinstance(source, Path | str) else source
    embedding, head = (name.removeprefix("language.") for name in _VOCABULARY)
    is_tied = model.language.config.tie_word_embeddings
    if is_tied and head in tensors and not torch.equal(tensors[head], tensors.get(embedding, tensors[head])):
        raise CheckpointError(
            "expected weights whose output layer is the embedding of the input, got a file with two: set "
            "tied_embeddings = false in [model.language]"
        )
    layout = layout or detect_layout(tensors)
    found, foreign = own_tensors(tensors, model, layout)
    label = str(source) if isinstance(source, Path | str) else f"the {layout} tensors"
    own = dict(model.named_parameters(remove_duplicate=False))
    if layout is Layout.M3D:
        # Its projector reads one tower; ours reads PET and CT side by side and starts anew where that differs.
        narrow = [n for n in found if n.startswith("projector.") and n in own and own[n].shape != found[n].shape]
        if narrow:
            found = {n: t for n, t in found.items() if not n.startswith("projector.")}
    if foreign and not allow_unexpected:
        raise CheckpointError(
            f"expected only tensors that PETAR has a part for, {label} has {len(foreign)} others "
            f"({', '.join(foreign[:5])}): "
            "allow_unexpected drops them"
        )
    partial = layout in (Layout.M3D, Layout.M3D_CLIP, Layout.PHI3)
    report = load_weights(
        model,
        found,
        allow_missing=partial if allow_missing is None else allow_missing,
        allow_unexpected=allow_unexpected,
        source=label,
    )
    if not report.loaded:
        raise CheckpointError(
            f"expected weights for this model in {label}, none of its {len(tensors)} tensors fits a part"
        )
    return LoadReport(report.loaded, report.missing, (*report.unexpected, *foreign), report.mismatched)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """All tensors of a weights file, or of a folder with one or with shards, on the CPU; those of a GGUF file are
    dequantised to float32.
    """
    path = Path(path)
    if path.is_dir():
        return {name: tensor for file in _files_in(path) for name, tensor in read_weights(file).items()}
    if not path.is_file():
        raise CheckpointError(
            f"expected a weights file or folder at {path}, it is not there: give the path of the download"
        )
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if path.suffix == GGUF:
        return _read_gguf(path)
    try:
        # Tensors only: a pickle from elsewhere must not run code.
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"expected a file of tensors at {path}, cannot read it ({reason_of(error)}): download it again"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError(f"expected tensors by name in {path}, got {type(state).__name__}: give a state dict")
    return state


def _read_gguf(path: Path) -> dict[str, Tensor]:
    try:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        raise CheckpointError(
            f"expected a GGUF file of a language model that transformers reads at {path}, got another: give a folder "
            "of safetensors"
        ) from error
    return dict(model.state_dict())


def start_new_rows(model: Petar, tokenizer: PetarTokenizer) -> None:
    """Sets the embedding and output rows of added tokens to the mean of the known ones, as M3D does, and those of `[#]`
    to the mean of the digits', whose place it takes.

    A row moves by at most the learning rate in a step, and the mean of all tokens is far from one that is often said:
    in SmolLM2 `[#]` starts there at 16.6 nats and has 11.4 after 33 steps of LoRA at a rate of 2e-4; at the digits'
    mean it starts at 2.7 and has 0.1 after 48.

    Args:
        model: its language model is changed in place.
        tokenizer: that of the weights, with the tokens that they do not know (`new_ids`) added.
    """
    new_ids = tokenizer.new_ids
    n_known = len(tokenizer) - len(new_ids)
    known = torch.ones(n_known, dtype=torch.bool)
    known[[i for i in new_ids if i < n_known]] = False
    language = model.language
    tables = (language.model.embed_tokens.weight, language.lm_head.weight)
    with torch.no_grad():
        # Tied, they are one.
        for weight in {id(table): table for table in tables}.values():
            weight[list(new_ids)] = weight[:n_known][known].float().mean(dim=0).to(weight.dtype)
            if tokenizer.number_id in new_ids and tokenizer.digit_ids:
                weight[tokenizer.number_id] = weight[list(tokenizer.digit_ids)].float().mean(dim=0).to(weight.dtype)


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors of a weights file, or of a folder with one or with shards; safetensors are not loaded."""
    if path.is_dir():
        return [name for file in _files_in(path) for name in tensor_names(file)]
    if path.suffix == ".safetensors":
        return read_names(path)
    return list(read_weights(path))


def _files_in(folder: Path) -> list[Path]:
    for index_name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        index = folder / index_name
        if index.is_file():
            return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    for pattern in ("*.safetensors", "*.bin", f"*{GGUF}"):
        if files := sorted(folder.glob(pattern)):
            return files
    raise CheckpointError(
        f"expected weights (*.safetensors, *.bin or *.gguf) in {folder}, found none: give the folder of the download"
    )
