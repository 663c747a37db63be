"""PETAR for transformers alone: a copy of this file lies in every exported folder, where
`AutoModel.from_pretrained(folder, trust_remote_code=True)` finds it. It imports torch and transformers and nothing
else; tensors have the names of the checkpoint.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Phi3Config, Phi3ForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class PetarConfig(PretrainedConfig):
    """Sizes of the towers (`vision`), the language model (`language`, as Phi3Config has it), and what is fed."""

    model_type = "petar"

    def __init__(
        self,
        vision: dict[str, Any] | None = None,
        language: dict[str, Any] | None = None,
        projector: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        self.vision, self.language = dict(vision or {}), dict(language or {})
        self.projector, self.inputs = dict(projector or {}), dict(inputs or {})
        super().__init__(**others)


class _Patches(nn.Module):
    """Patches of a volume as tokens, with learnt positions."""

    def __init__(self, vision: dict[str, Any]) -> None:
        super().__init__()
        self.patch = tuple(vision["patch_shape"])
        self.grid = tuple(n // p for n, p in zip(vision["image_shape"], self.patch))
        voxels, count = 1, 1
        for n, p in zip(self.grid, self.patch):
            voxels, count = voxels * p, count * n
        self.patch_embeddings = nn.Sequential(nn.Identity(), nn.Linear(voxels, vision["width"]))
        self.position_embeddings = nn.Parameter(torch.zeros(1, count, vision["width"]))

    def forward(self, volume: Tensor) -> Tensor:
        """Tokens (batch, patches, width) of volumes (batch, 1, z, y, x)."""
        (z, y, x), (p, q, r) = self.grid, self.patch
        cut = (
            volume.reshape(len(volume), z, p, y, q, x, r)
            .permute(0, 1, 3, 5, 2, 4, 6)
            .reshape(len(volume), z * y * x, -1)
        )
        return self.patch_embeddings(cut) + self.position_embeddings


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class _Perceptron(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(functional.gelu(self.linear1(x)))


class _Block(nn.Module):
    def __init__(self, vision: dict[str, Any]) -> None:
        super().__init__()
        width = vision["width"]
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _Attention(width, vision["heads"])
        self.mlp = _Perceptron(width, vision["mlp_width"])

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Tower(nn.Module):
    def __init__(self, vision: dict[str, Any], has_cls: bool) -> None:
        super().__init__()
        self.patch_embedding = _Patches(vision)
        self.blocks = nn.ModuleList(_Block(vision) for _ in range(vision["layers"]))
        self.norm = nn.LayerNorm(vision["width"])
        if has_cls:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, vision["width"]))

    def forward(self, volume: Tensor, added: Tensor | None = None) -> Tensor:
        tokens = self.patch_embedding(volume)
        if added is not None:
            tokens = tokens + added
        first = 0
        if hasattr(self, "cls_token"):
            tokens, first = torch.cat((self.cls_token.expand(len(tokens), -1, -1), tokens), dim=1), 1
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, first:]


class _Encoder(nn.Module):
    def __init__(self, vision: dict[str, Any]) -> None:
        super().__init__()
        self.settings = vision
        self.pet_tower = _Tower(vision, "pet" in vision["cls_tokens"])
        if vision["use_ct"] and not vision["shared_towers"]:
            self.ct_tower = _Tower(vision, "ct" in vision["cls_tokens"])
        if vision["use_mask"]:
            self.mask_embedding = _Patches(vision)

    def forward(self, images: Tensor, focal: Tensor | None) -> Tensor:
        crops = images if focal is None else torch.cat((images, focal))
        added = self.mask_embedding(crops[:, 2:3]) if self.settings["use_mask"] else None
        features = self.pet_tower(crops[:, 0:1], added)
        if self.settings["use_ct"]:
            tower = self.pet_tower if self.settings["shared_towers"] else self.ct_tower
            features = torch.cat((features, tower(crops[:, 1:2])), dim=-1)
        if focal is not None:
            features = features[: len(images)] + features[len(images) :]
        grid = self.pet_tower.patch_embedding.grid
        volume = features.transpose(1, 2).reshape(len(images), -1, *grid)
        return functional.avg_pool3d(volume, self.settings["pool"]).flatten(2).transpose(1, 2)


class _Projector(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.projector(tokens)


class PetarModel(PreTrainedModel):
    """Describes a lesion of a PET/CT, given its mask."""

    config_class = PetarConfig
    _supports_sdpa = True

    def __init__(self, config: PetarConfig) -> None:
        super().__init__(config)
        self.vision = _Encoder(config.vision)
        self.projector = _Projector(config.projector["channels"], config.projector["width"])
        self.language = Phi3ForCausalLM(Phi3Config(**config.language))
        self.post_init()

    def prompt_ids(self, tokenizer: PreTrainedTokenizerBase, question: str | None = None) -> Tensor:
        """Token ids (1, length) of a question, image tokens included.

        Args:
            tokenizer: of the same folder.
            question: None: that of the training.
        """
        text, given = self.config.inputs["text"], self.config.projector
        image, n, words = given["image_token_id"], text["image_tokens"], question or text["questions"][0]
        if given["is_joint"]:
            # As M3D: one text, BOS where the tokenizer adds one; the visual tokens stand after the first token.
            words = words.replace(text["image_token"], "")
            ids = list(tokenizer(text["image_token"] * n + words)["input_ids"])
            ids = ids[:-1] if ids[-1] == given["eos_id"] else ids
            return torch.tensor([[image, *ids[:n], *ids[n + 1 :]] if ids[0] == image else ids])
        own = [i for i in tokenizer.encode(words, add_special_tokens=False) if i != image]
        return torch.tensor([[*([] if given["bos_id"] is None else [given["bos_id"]]), *[image] * n, *own]])

    def embed(self, input_ids: Tensor, images: Tensor, focal: Tensor | None = None) -> Tensor:
        """Input embeddings (batch, length, width), with the visual tokens in place of the image tokens.

        Args:
            input_ids: (batch, length).
            images: global crop (batch, 3, z, y, x): PET, CT, mask, each 0 to 1 as `config.inputs` says.
            focal: focal crop of the same shape, where the model has one.
        """
        visual = self.projector(self.vision(images, focal))
        places = input_ids == self.config.projector["image_token_id"]
        counts, expected = places.sum(dim=1), visual.shape[1]
        if self.config.projector["is_joint"]:
            # Where the tokenizer adds no BOS, one more image token stands first, as a word.
            places &= counts[:, None] - places.cumsum(dim=1) < expected
            counts = counts - (counts == expected + 1).to(counts.dtype)
        if not bool((counts == expected).all()):
            raise ValueError(f"expected {expected} image tokens in each row, got {counts.tolist()}")
        embeddings = self.language.get_input_embeddings()(input_ids)
        return embeddings.masked_scatter(places.unsqueeze(-1), visual.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor,
        images: Tensor,
        focal: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Any:
        """Loss and logits as of Phi3ForCausalLM."""
        embeddings = self.embed(input_ids, images, focal)
        return self.language(inputs_embeds=embeddings, attention_mask=attention_mask, labels=labels)

    @torch.inference_mode()
    def generate(
        self,
        input_ids: Tensor,
        images: Tensor,
        focal: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """New tokens (batch, n); `options` as of transformers' `generate`. Rows are padded on the left."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        ends: int | Sequence[int] = self.config.projector["eos_id"]
        options = {"do_sample": False, "eos_token_id": ends, "pad_token_id": self.config.projector["pad_id"]} | options
        embeddings = self.embed(input_ids, images, focal)
        return self.language.generate(  # type: ignore[misc,return-value]  # transformers types a mixin method loosely
            inputs_embeds=embeddings, attention_mask=attention_mask, **options
        )
