"""A checkpoint as a folder that transformers loads without this package: `petar model export`.

model = AutoModel.from_pretrained(FOLDER, trust_remote_code=True)
"""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import transformers
from safetensors.torch import save_file

from model.petar import modeling_petar
from model.petar.checkpoints import CONTRACT, WEIGHTS, Checkpoint, write_folder_atomically
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

LAST_CHECKPOINT = ("checkpoints", "findings_full", "checkpoint")
"""Where the checkpoint of the last stage lies in a home."""
_CODE = Path(modeling_petar.__file__)
_LIMITS = """\
## Limits

Trained to describe one lesion whose mask is given; it finds no lesions. Numbers in its text are to be replaced with
those measured on the mask. Texts may name a wrong place, side or change: the scores above say how often on held-out
patients of the cohort that it was trained on, and nothing of other scanners, tracers or report styles. Not a medical
device; not for diagnosis.
"""


def save_pretrained(checkpoint: Checkpoint, folder: Path, scores: pl.DataFrame | None = None) -> Path:
    """Writes weights, configuration, tokenizer, code, contract and model card into a folder, whole or not at all, and
    returns it.

    Args:
        checkpoint: the model.
        folder: where it is written; one that is there is replaced.
        scores: rows of the table `scores` of this model for its card; None: the card says that there are none.
    """
    model, tokenizer = checkpoint.model, checkpoint.tokenizer

    def write(part: Path) -> None:
        # Tied embeddings are written twice, so that nothing needs tying when it is read.
        tensors = {n: t.detach().cpu().clone().contiguous() for n, t in model.state_dict().items()}
        save_file(tensors, str(part / WEIGHTS), metadata={"format": "pt"})
        tokenizer.save(part)
        (part / "config.json").write_text(json.dumps(_config(checkpoint), indent=1))
        (part / CONTRACT).write_text(json.dumps(checkpoint.contract.to_dict(), indent=1))
        (part / "README.md").write_text(model_card(checkpoint, scores))
        shutil.copyfile(_CODE, part / _CODE.name)

    write_folder_atomically(folder, write)
    return folder


def save_language(checkpoint: Checkpoint, folder: Path) -> Path:
    """Writes the language part as a plain Phi-3 folder with its tokenizer, whole or not at all, and returns it. Servers
    of language models read it; where they take embeddings, the visual tokens come from outside.

    Args:
        checkpoint: the model.
        folder: where it is written; one that is there is replaced.
    """
    language, tokenizer = checkpoint.model.language, checkpoint.tokenizer

    def write(part: Path) -> None:
        names = dict(language.named_parameters())
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in names.items()},
            str(part / "model.safetensors"),
            metadata={"format": "pt"},
        )
        ends = {"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id, "bos_token_id": tokenizer.bos_id}
        config = language.config.to_dict() | ends
        config |= {"architectures": ["Phi3ForCausalLM"], "dtype": str(language.dtype).removeprefix("torch.")}
        known = {name: value for name, value in config.items() if value is not None}
        (part / "config.json").write_text(json.dumps(known, indent=1))
        (part / "generation_config.json").write_text(json.dumps({k: v for k, v in ends.items() if v is not None}))
        tokenizer.save(part)

    write_folder_atomically(folder, write)
    return folder


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """`config.json`, with the classes that AutoConfig and AutoModel take from the folder's code."""
    model, tokenizer, contract = checkpoint.model, checkpoint.tokenizer, checkpoint.contract
    config = model.config
    towers = {"pet": model.vision.pet_tower, "ct": getattr(model.vision, "ct_tower", None)}
    language = model.language.config.to_dict() | {"tie_word_embeddings": False}
    module = _CODE.stem
    return {
        "model_type": "petar",
        "architectures": ["PetarModel"],
        "auto_map": {"AutoConfig": f"{module}.PetarConfig", "AutoModel": f"{module}.PetarModel"},
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "transformers_version": transformers.__version__,
        "vision": config.vision.to_dict()
        | {
            "cls_tokens": [name for name, tower in towers.items() if hasattr(tower, "cls_token")],
            "use_ct": config.use_ct,
            "use_mask": config.use_mask,
            "shared_towers": config.shared_towers,
            "pool": config.pool,
        },
        "projector": {
            "channels": config.vision_channels,
            "width": config.language.width,
            "image_token_id": tokenizer.image_id,
            "bos_id": tokenizer.bos_id,
            "eos_id": tokenizer.eos_id,
            "pad_id": tokenizer.pad_id,
            "is_joint": config.layout.text == "joint",
        },
        "language": {name: value for name, value in language.items() if value is not None},
        "inputs": contract.to_dict()["inputs"],
    }


def model_card(checkpoint: Checkpoint, scores: pl.DataFrame | None = None) -> str:
    """The model card in Markdown: what goes in, how it was trained, data version, scores, use, limits.

    Args:
        checkpoint: the model.
        scores: rows of the table `scores` of this model.
    """
    versions = sorted({record.curation for record in checkpoint.contract.lineage if record.curation})
    lines = [checkpoint.contract.card(), f"Data version: {', '.join(versions) or 'not known'}.", "", "## Scores", ""]
    found = [] if scores is None else scores.filter(pl.col("value").is_not_null()).iter_rows(named=True)
    rows = [
        f"| {row['split']} | {row['metric']} | {row['numbers']} | {row['value']:.3f}{_interval(row)} | {row['n']} |"
        for row in sorted(found, key=lambda row: (row["split"] != "test", row["split"]))
    ]
    if rows:
        lines += ["| split | metric | numbers | value [95 % interval] | lesions |", "|" + " --- |" * 5, *rows]
    else:
        lines.append("None: this checkpoint was not evaluated where it was exported.")
    use = (
        "## Use", "", "```python", "from transformers import AutoModel, AutoTokenizer", "",
        "tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)",
        "model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()",
        "tokens = model.generate(model.prompt_ids(tokenizer), images, focal, max_new_tokens=128)",
        "print(tokenizer.decode(tokens[0], skip_special_tokens=True))", "```", "",
        f"`images` and `focal` are PET, CT and mask (1, 3, z, y, x) as `inputs` in `{CONTRACT}` says.", "",
    )  # fmt: skip
    return "\n".join([*lines, "", *use, _LIMITS])


def _interval(row: dict[str, Any]) -> str:
    return f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None and row["high"] is not None else ""


def own_scores(checkpoint: Checkpoint) -> pl.DataFrame | None:
    """Rows of the table `scores` of the model, of the home where it is the checkpoint of the last stage; None where
    there are none, or where it lies elsewhere.
    """
    folder = checkpoint.folder.resolve()
    if folder.parts[-3:] != LAST_CHECKPOINT:
        return None
    lake = Lake(Home(folder.parents[2]).lake)
    if not lake.has_shard("scores"):
        return None
    name = f"petar-{checkpoint.contract.config.name}".replace("petar-petar", "petar")
    own = pl.col("model") == name, pl.col("status") == "computed", pl.col("subset") == "all"
    return lake.read_table("scores").filter(*own)
