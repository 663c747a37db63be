"""PETAR: lesion encoder, projector and Phi-3, joined where the image tokens stand."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Phi3Config, Phi3ForCausalLM

from model.petar.config import LanguageConfig, ModelConfig
from model.petar.vision import LesionEncoder


class Projector(nn.Module):
    """Linear, GELU, linear: vision tokens to the language model's width."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, n, width) of tokens (batch, n, channels)."""
        return self.projector(tokens)


def language_model(
    config: LanguageConfig, vocab_size: int, pad_id: int = 0, bos_id: int | None = None, eos_id: int = 0
) -> Phi3ForCausalLM:
    """A Phi-3 with random weights and `vocab_size` tokens."""
    phi3 = Phi3Config(
        vocab_size=vocab_size,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads or config.heads,
        max_position_embeddings=config.max_positions,
        original_max_position_embeddings=config.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta, "partial_rotary_factor": 1.0},
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=config.tied_embeddings,
        bos_token_id=bos_id,
        eos_token_id=eos_id,
        pad_token_id=pad_id,
        # Phi-3's 0.02 is about 1/sqrt(3072). At a tiny width it would make attention nearly blind to the image tokens.
        initializer_range=max(0.02, config.width**-0.5),
        attn_implementation="sdpa",  # type: ignore[call-arg]  # transformers takes it by keyword
    )
    return Phi3ForCausalLM(phi3)


class Petar(nn.Module):
    """The whole model. Its inputs are made by `model.inputs.tensors`, its tokens by `model.petar.tokenizer`."""

    def __init__(self, config: ModelConfig, language: Phi3ForCausalLM, image_token_id: int) -> None:
        super().__init__()
        if language.config.hidden_size != config.language.width:
            raise ValueError(
                f"expected a language model of width {config.language.width} (preset {config.name}), "
                f"got {language.config.hidden_size}"
            )
        self.config = config
        self.image_token_id = image_token_id
        self.vision = LesionEncoder(config)
        self.projector = Projector(config.vision_channels, config.language.width)
        self.language = language

    def visual_tokens(self, images: Tensor, focal: Tensor | None) -> Tensor:
        """Projected tokens (batch, n_visual_tokens, width) of global and focal images (batch, 3, z, y, x)."""
        projected: Tensor = self.projector(self.vision(images, focal))
        return projected

    def embed(self, input_ids: Tensor, images: Tensor, focal: Tensor | None) -> Tensor:
        """Input embeddings (batch, length, width) of texts with their images, as `embed_with` gives them."""
        return self.embed_with(input_ids, self.visual_tokens(images, focal))

    def embed_with(self, input_ids: Tensor, visual: Tensor) -> Tensor:
        """Input embeddings (batch, length, width): token embeddings with visual tokens (batch, n_visual_tokens, width)
        in place of the image tokens.

        They are placed by token id, in any position; a row with another count of image tokens is an error. Where texts
        are encoded as one (layout `joint`), one more image token may stand before them as a word.
        """
        places = input_ids == self.image_token_id
        counts = places.sum(dim=1)
        expected = self.config.n_visual_tokens
        if self.config.layout.text == "joint":
            places &= counts[:, None] - places.cumsum(dim=1) < expected
            counts = counts - (counts == expected + 1).to(counts.dtype)
        if not torch.compiler.is_compiling() and not bool((counts == expected).all()):
            raise ValueError(
                f"expected {expected} image tokens (id {self.image_token_id}) in each row, got {counts.tolist()}"
            )
        embeddings = self.language.get_input_embeddings()(input_ids)
        return embeddings.masked_scatter(places.unsqueeze(-1), visual.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        images: Tensor,
        focal: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """The summed next-token negative log likelihood over labels that are not -100, or without labels the logits."""
        embeddings = self.embed(input_ids, images, focal)
        if labels is None:
            return self.language(inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=False).logits
        hidden = self.language.model(
            inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        targets = labels[:, 1:]
        wanted = targets != -100
        # Logits only where there is an answer: the prompt and its image tokens are most of the sequence.
        logits = self.language.lm_head(hidden[:, :-1][wanted])
        return nn.functional.cross_entropy(logits.float(), targets[wanted], reduction="sum")

    @torch.inference_mode()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        images: Tensor,
        focal: Tensor | None = None,
        *,
        max_new_tokens: int,
        eos_id: int | Sequence[int],
        pad_id: int,
    ) -> Tensor:
        """Greedy answers (batch, new tokens) to texts with their images; rows are padded on the left."""
        embeddings = self.embed(input_ids, images, focal)
        return self.decode(embeddings, attention_mask, max_new_tokens=max_new_tokens, eos_id=eos_id, pad_id=pad_id)

    @torch.inference_mode()
    def decode(
        self,
        embeddings: Tensor,
        attention_mask: Tensor,
        *,
        max_new_tokens: int,
        eos_id: int | Sequence[int],
        pad_id: int,
    ) -> Tensor:
        """Greedy answers (batch, new tokens) to embedded prompts (`embed`). Rows must be padded on the left: a pad
        between prompt and answer corrupts it.
        """
        if not bool(attention_mask[:, -1].all()):
            raise ValueError("expected prompts padded on the left, got a row that ends in padding")
        return self.language.generate(  # type: ignore[misc,return-value]  # transformers types a mixin method loosely
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(eos_id) if isinstance(eos_id, Sequence) else eos_id,
            pad_token_id=pad_id,
        )

    def count_parameters(self) -> dict[str, int]:
        """Parameters by part, and `total`."""
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        return {**parts, "total": sum(parts.values())}
