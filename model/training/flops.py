"""How many floating point operations a step of training takes, for model FLOPs utilisation."""

from model.petar.config import ModelConfig

_PEAK_TFLOPS = {
    # Dense bfloat16, from the manufacturers' data sheets.
    "H200": 989.0, "H100 PCIE": 756.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L40": 181.0, "A40": 149.7,
    "A10": 125.0, "L4": 121.0, "RTX 4090": 165.2, "RTX 3090": 71.0, "V100": 125.0,
}  # fmt: skip


def peak_flops(device_name: str) -> float | None:
    """Dense bfloat16 operations a second of a GPU by its name; None for one that is not in the table."""
    name = device_name.upper()
    return next((1e12 * tflops for key, tflops in _PEAK_TFLOPS.items() if key in name), None)


def forward_flops(config: ModelConfig, length: int, answer_length: int) -> tuple[float, float]:
    """(vision with projector, language) operations of one sample's forward pass; a multiplication and its addition are
    two.

    Matrix products alone, as is the custom (Chowdhery 2022, appendix B): of weights 2 a weight and token, of attention
    4 x tokens^2 x width a layer. Logits are counted for the `answer_length` tokens that have one.
    """
    vision, language = config.vision, config.language
    z, y, x = vision.grid
    patches = z * y * x
    patch_voxels = vision.patch_shape[0] * vision.patch_shape[1] * vision.patch_shape[2]
    crops = 2 if config.use_focal else 1
    embedded = crops * (1 + config.use_ct + config.use_mask)
    layer = 4 * vision.width**2 + 2 * vision.width * vision.mlp_width
    tower = vision.layers * _layers(patches + 1, layer, vision.width)
    encoded = embedded * 2 * patches * patch_voxels * vision.width + crops * (1 + config.use_ct) * tower
    projected = 2 * config.n_visual_tokens * (config.vision_channels * language.width + language.width**2)
    shared = (language.kv_heads or language.heads) / language.heads
    decoder = (2 + 2 * shared) * language.width**2 + 3 * language.width * language.mlp_width
    decoded = language.layers * _layers(length, decoder, language.width)
    logits = 2 * answer_length * language.width * language.vocab_size
    return float(encoded + projected), float(decoded + logits)


def _layers(tokens: int, weights: float, width: int) -> float:
    return 2 * tokens * weights + 4 * tokens**2 * width


def training_flops(config: ModelConfig, length: int, answer_length: int, *, lora: bool = False) -> float:
    """Operations of one sample's forward and backward pass, each counted once: recomputed activations are not the
    model's work.

    The backward pass is twice the forward one, and once where the weights are frozen, as LoRA's are.
    """
    vision, language = forward_flops(config, length, answer_length)
    return 3 * vision + (2 if lora else 3) * language
