"""The eyes of PETAR: 3D ViT towers with M3D-CLIP's key names, and the mask embedding that starts at zero."""

import numpy as np
import torch
from monai.networks.blocks import PatchEmbeddingBlock
from monai.networks.nets import ViT
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d
from torch.utils.checkpoint import checkpoint

from model.petar.config import ModelConfig, VisionConfig

_POSITION_SCALE = 0.3


def wave_positions(grid: tuple[int, int, int], width: int) -> Tensor:
    """Position embeddings (1, patches, width) to start from: sines and cosines of z, y, x, a third of the width each.

    Learnt like any other weight. From noise, a tower trained on little data has to learn each place alone; from waves,
    left and right are a direction from the first step on.
    """
    # In numpy: under torch's meta device (plans of memory) some of torch's own functions stay on the CPU.
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in grid], indexing="ij")
    n_waves = width // 6
    frequencies = np.pi / 2 * 2 ** np.linspace(0, 4, max(n_waves, 1))
    phases = [axis.reshape(-1, 1) * frequencies for axis in axes]
    waves = np.concatenate([wave for phase in phases for wave in (np.sin(phase), np.cos(phase))], axis=1)
    padded = np.pad(waves, ((0, 0), (0, max(0, width - waves.shape[1]))))[:, :width]
    return torch.tensor(padded[None], dtype=torch.float32)


class Tower(ViT):
    """A MONAI ViT whose state dict has exactly M3D-CLIP's 138 tensors at that tower's depth, and whose attention is
    fused. Without a class token it has one less, as the CT tower of the PETAR release.
    """

    def __init__(self, config: VisionConfig, class_token: bool = True) -> None:
        super().__init__(
            in_channels=1,
            img_size=config.image_shape,
            patch_size=config.patch_shape,
            hidden_size=config.width,
            mlp_dim=config.mlp_width,
            num_layers=config.layers,
            num_heads=config.heads,
            proj_type="perceptron",
            classification=class_token,
            qkv_bias=False,
        )
        for block in self.blocks:
            # MONAI makes this norm for cross attention, which a ViT never has: dead weights that no checkpoint holds.
            block.norm_cross_attn = nn.Identity()
            block.attn.use_flash_attention = config.attention == "sdpa"  # type: ignore[union-attr]  # torch types children loosely
        if class_token:
            del self.classification_head
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        with torch.no_grad():
            self.patch_embedding.position_embeddings.copy_(_POSITION_SCALE * wave_positions(config.grid, config.width))
        self.recompute_activations = False

    def forward(self, image: Tensor, added: Tensor | None = None) -> Tensor:
        """Patch features (batch, patches, width) of an image (batch, 1, z, y, x); a CLS token is dropped.

        `added` (batch, patches, width) is summed onto the patch embedding: where the mask enters.
        """
        tokens = self.patch_embedding(image)
        if added is not None:
            tokens = tokens + added
        if self.classification:
            tokens = torch.cat((self.cls_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        for block in self.blocks:
            if self.recompute_activations and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return self.norm(tokens)[:, 1 if self.classification else 0 :]


def mask_embedding(config: VisionConfig) -> PatchEmbeddingBlock:
    """A patch embedding for the mask with every parameter zero, so that an untrained mask changes nothing."""
    block = PatchEmbeddingBlock(
        in_channels=1,
        img_size=config.image_shape,
        patch_size=config.patch_shape,
        hidden_size=config.width,
        num_heads=config.heads,
        proj_type="perceptron",
    )
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    return block


class LesionEncoder(nn.Module):
    """PET, CT and mask of the global and the focal crop to pooled tokens: Pool(X + X~) of the paper."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.pet_tower = Tower(config.vision)
        if config.use_ct and not config.shared_towers:
            self.ct_tower = Tower(config.vision, config.layout.ct_class_token)
        if config.use_mask:
            self.mask_embedding = mask_embedding(config.vision)

    def _features(self, pet: Tensor, ct: Tensor, mask: Tensor) -> Tensor:
        added = self.mask_embedding(mask) if self.config.use_mask else None
        features = self.pet_tower(pet, added)
        if not self.config.use_ct:
            return features
        ct_tower = self.pet_tower if self.config.shared_towers else self.ct_tower
        return torch.cat((features, ct_tower(ct)), dim=-1)

    def forward(self, images: Tensor, focal: Tensor | None) -> Tensor:
        """Tokens (batch, n_visual_tokens, channels) of crops (batch, 3, z, y, x) whose channels are PET, CT, mask in
        0..1.
        """
        expected = (3, *self.config.vision.image_shape)
        if tuple(images.shape[1:]) != expected:
            raise ValueError(f"expected images (batch, {', '.join(map(str, expected))}), got {tuple(images.shape)}")
        crops = images
        if self.config.use_focal:
            if focal is None or focal.shape != images.shape:
                got = None if focal is None else tuple(focal.shape)
                raise ValueError(f"expected a focal crop of shape {tuple(images.shape)}, got {got}")
            # One pass over both crops: twice the batch costs less than two passes.
            crops = torch.cat((images, focal))
        features = self._features(crops[:, 0:1], crops[:, 1:2], crops[:, 2:3])
        if self.config.use_focal:
            features = features[: len(images)] + features[len(images) :]
        batch, _, channels = features.shape
        volume = features.transpose(1, 2).reshape(batch, channels, *self.config.vision.grid)
        return avg_pool3d(volume, self.config.pool).flatten(2).transpose(1, 2)
