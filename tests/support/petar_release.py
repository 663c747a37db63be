"""The PETAR release as its own code builds it and prepares its inputs, at any size: what ours is compared with.

Written after github.com/DanyalMaq/petar-release: names of modules, order of tensors, placement of the visual tokens by
position, and the preparation of the images with MONAI and scipy (which nilearn calls).
"""

import numpy as np
import torch
from monai.networks.blocks import PatchEmbeddingBlock, TransformerBlock
from monai.transforms import Compose, CropForegroundd, Resized
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from transformers import Phi3Config, Phi3ForCausalLM

from model.petar.config import ModelConfig
from model.petar.tokenizer import PetarTokenizer

STEP_MM = 3.0


class ReleaseViT(nn.Module):
    """One tower; `mask` has a patch embedding of its own, `classification` a CLS token."""

    def __init__(self, config: ModelConfig, *, mask: bool, classification: bool) -> None:
        super().__init__()
        vision = config.vision

        def patches() -> PatchEmbeddingBlock:
            return PatchEmbeddingBlock(
                1, vision.image_shape, vision.patch_shape, vision.width, vision.heads, proj_type="perceptron"
            )

        self.patch_embedding = patches()
        if mask:
            self.patch_embedding_mask = patches()
        self.blocks = nn.ModuleList(
            TransformerBlock(vision.width, vision.mlp_width, vision.heads, 0.0, False) for _ in range(vision.layers)
        )
        self.norm = nn.LayerNorm(vision.width)
        if classification:
            self.cls_token = nn.Parameter(torch.randn(1, 1, vision.width))

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.patch_embedding(image)
        if mask is not None:
            x = x + self.patch_embedding_mask(mask)
        if hasattr(self, "cls_token"):
            x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class ReleaseTowers(nn.Module):
    """`vision_tower` with the mask and a CLS token, `ct_tower` without either."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vision_tower = ReleaseViT(config, mask=True, classification=True)
        self.ct_tower = ReleaseViT(config, mask=False, classification=False)

    def forward(self, images: Tensor) -> Tensor:
        pet, ct, mask = images[:, 0:1], images[:, 1:2], images[:, 2:3]
        return torch.cat((self.vision_tower(pet, mask)[:, 1:], self.ct_tower(ct)), dim=-1)


class ReleaseProjector(nn.Module):
    """Pooling over 2 x 2 x 2 patches, then a perceptron."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.grid = config.vision.grid
        width = config.language.width
        self.projector = nn.Sequential(nn.Linear(2 * config.vision.width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        volume = x.transpose(1, 2).unflatten(2, self.grid)
        return self.projector(nn.functional.avg_pool3d(volume, 2, 2).flatten(2).transpose(1, 2))


class Release:
    """A release of random weights."""

    def __init__(self, config: ModelConfig, tokenizer: PetarTokenizer, seed: int = 1) -> None:
        torch.manual_seed(seed)
        language = config.language
        self.language = Phi3ForCausalLM(
            Phi3Config(
                vocab_size=max(len(tokenizer), language.vocab_size),
                hidden_size=language.width,
                intermediate_size=language.mlp_width,
                num_hidden_layers=language.layers,
                num_attention_heads=language.heads,
                max_position_embeddings=language.max_positions,
                original_max_position_embeddings=language.max_positions,
                initializer_range=0.3,
                pad_token_id=tokenizer.pad_id,
                bos_token_id=tokenizer.bos_id,
                eos_token_id=tokenizer.eos_id,
            )
        ).eval()
        self.towers, self.projector = ReleaseTowers(config).eval(), ReleaseProjector(config).eval()
        self.n_visual = config.n_visual_tokens
        for parameter in (*self.towers.parameters(), *self.projector.parameters()):
            nn.init.normal_(parameter, std=0.2)
        self.tokenizer = tokenizer

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors as its checkpoint names them."""
        parts = (("model.vision_tower.", self.towers), ("model.mm_projector.", self.projector), ("", self.language))
        return {prefix + name: tensor for prefix, part in parts for name, tensor in part.state_dict().items()}

    @torch.inference_mode()
    def answer(self, images: Tensor, focal: Tensor, question: str, n_new: int) -> list[int]:
        """Token ids of the greedy answer to one question; the visual tokens stand after the first token."""
        words = self.tokenizer.tokenizer
        ids = torch.tensor([words("<im_patch>" * self.n_visual + question)["input_ids"]])
        visual = self.projector(self.towers(images[None]) + self.towers(focal[None]))
        embedded = self.language.get_input_embeddings()(ids)
        embedded = torch.cat((embedded[:, :1], visual, embedded[:, self.n_visual + 1 :]), dim=1)
        out = self.language.generate(
            inputs_embeds=embedded,
            attention_mask=torch.ones(embedded.shape[:2], dtype=torch.long),
            max_new_tokens=n_new,
            do_sample=False,
            eos_token_id=self.tokenizer.eos_id,
            pad_token_id=self.tokenizer.pad_id,
        )
        return out[0].tolist()


def release_images(
    pet: NDArray[np.float32],
    ct: NDArray[np.float32],
    mask: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    shape_zyx: tuple[int, int, int],
    field: tuple[int, int, int] = (200, 200, 350),
    around: int = 80,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Global and focal arrays (PET, CT, mask; z, y, x) of an exam (i, j, k) in RAS+.

    `field` (x, y, z) and `around` are the release's own; a test of a small volume makes them smaller.
    """
    kinds = ((pet, 1, 0), (ct, 1, -1000), (mask, 0, 0))
    volumes = [_field(_resampled(array, spacing_mm, order), field, fill) for array, order, fill in kinds]
    p, c, m = (np.ascontiguousarray(v[:, ::-1, ::-1].transpose(2, 1, 0), np.float32) for v in volumes)
    p, c, m = np.clip(p, 0, 12) / 12, (np.clip(c, -300, 400) + 300) / 700, np.clip(m, 0, 1)
    slices = np.flatnonzero(m.any(axis=(1, 2)))
    middle = (slices[0] + slices[-1]) // 2
    wide = slice(max(0, middle - around), min(len(p), middle + around + 1))
    p, c, m = p[wide], c[wide], m[wide]
    inside = np.argwhere(m)
    low = np.maximum(inside.min(axis=0) - 20, 0)
    high = np.minimum(inside.max(axis=0) + 20 + 1, m.shape)
    close = tuple(slice(a, b) for a, b in zip(low, high))
    return _sized(p, c, m, shape_zyx), _sized(p[close], c[close], m[close], shape_zyx)


def _resampled(array: NDArray, spacing_mm: tuple[float, float, float], order: int) -> NDArray:
    scale = [STEP_MM / s for s in spacing_mm]
    shape = [int(np.ceil((n - 1) / s)) + 1 for n, s in zip(array.shape, scale)]
    return ndimage.affine_transform(array.astype(float), scale, output_shape=tuple(shape), order=order, cval=0.0)


def _field(array: NDArray, field: tuple[int, int, int], fill: float) -> NDArray:
    """The middle of the plane and the slices from the head down, padded in the plane where it is smaller."""
    kept = [min(most, n) for most, n in zip(field, array.shape)]
    starts = [(array.shape[a] - kept[a]) // 2 for a in (0, 1)] + [array.shape[2] - kept[2]]
    array = array[tuple(slice(start, start + n) for start, n in zip(starts, kept))]
    missing = [most - n for most, n in zip(field[:2], array.shape)]
    return np.pad(array, [(n // 2, n - n // 2) for n in missing] + [(0, 0)], constant_values=fill)


def _sized(pet: NDArray, ct: NDArray, mask: NDArray, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    names = ("pet", "ct", "mask")
    transform = Compose(
        [
            CropForegroundd(names, source_key="pet"),
            Resized(names, shape, mode=("trilinear", "trilinear", "nearest")),
        ]
    )
    done = transform({name: torch.from_numpy(array[None].copy()) for name, array in zip(names, (pet, ct, mask))})
    return np.stack([np.asarray(done[name])[0] for name in names])
