"""Language warm-up of a language model without pretrained weights: in seconds at tiny size, what Phi-3 brings along."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from model.inputs.tensors import LABEL_IGNORED, padded_tokens
from model.petar.architecture import Petar
from model.petar.tokenizer import Encoded, PetarTokenizer
from model.training.schedule import learning_rate_at

_RATE, _BATCH = 3e-3, 32
_COMMON = 0.8


def warm_up_language(
    model: Petar,
    tokenizer: PetarTokenizer,
    pairs: Sequence[tuple[str, str]],
    steps: int,
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> list[float]:
    """Trains the language model to answer from hints, without any image; returns the losses in nats per answer token.

    In place of the image tokens it reads blends of the embeddings of words of the answer, of any strength, with noise.
    So it learns its language and to use what stands there; the stages that follow then train a projector in front of a
    language model that reads image tokens, as Phi-3 does.

    Args:
        model: its language model is trained in place.
        tokenizer: its tokenizer.
        pairs: questions with answers.
        steps: steps of AdamW, of 32 pairs each.
        seed: of the draws.
        device: where it is trained; None: the CPU.
    """
    device = device or torch.device("cpu")
    model.to(device)
    encoded = [tokenizer.encode(model.config, question, answer) for question, answer in pairs]
    specific = _specific_tokens(encoded)
    rng, noise = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    language = model.language.train()
    optimiser = torch.optim.AdamW(language.parameters(), weight_decay=0.01, betas=(0.9, 0.98))
    losses = []
    for step in range(steps):
        chosen = rng.choice(len(encoded), min(_BATCH, len(encoded)), replace=False)
        rows = [encoded[i] for i in chosen]
        input_ids, mask, labels = (t.to(device) for t in padded_tokens(rows, tokenizer.pad_id))
        hints = _hints([specific[i] for i in chosen], model.config.n_visual_tokens, len(tokenizer), rng).to(device)
        table = language.get_input_embeddings().weight
        placed = hints @ table[: len(tokenizer)]
        placed = placed + _noise(placed, noise) * table.detach().pow(2).mean().sqrt()
        embeddings = language.get_input_embeddings()(input_ids)
        embeddings = embeddings.masked_scatter((input_ids == tokenizer.image_id).unsqueeze(-1), placed)
        hidden = language.model(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != LABEL_IGNORED
        loss = nn.functional.cross_entropy(language.lm_head(hidden[:, :-1][wanted]), labels[:, 1:][wanted])
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(step, steps, _RATE, 0.05)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(language.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


def _specific_tokens(encoded: Sequence[Encoded]) -> list[list[int]]:
    """For each answer its tokens that not nearly all answers have: those that depend on the image."""
    counts = Counter(token for one in encoded for token in set(one.answer))
    found = ([t for t in dict.fromkeys(one.answer) if counts[t] < _COMMON * len(encoded)] for one in encoded)
    return [tokens or list(dict.fromkeys(one.answer)) for tokens, one in zip(found, encoded)]


def _hints(specific: Sequence[list[int]], places: int, vocab_size: int, rng: np.random.Generator) -> Tensor:
    """Weights (rows, places, vocabulary): each place blends the row's specific tokens; one strength of 0..2 a row."""
    weights = np.zeros((len(specific), places, vocab_size), np.float32)
    for row, tokens in enumerate(specific):
        weights[row][:, tokens] = rng.dirichlet(np.ones(len(tokens)), places) * rng.uniform(0, 2)
    return torch.from_numpy(weights)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of its own in each place, as strong as 0..1 a row, and one offset for the whole batch, as images have."""
    rows, places, width = like.shape
    own = torch.randn(rows, places, width, generator=generator) * torch.rand(rows, 1, 1, generator=generator)
    return (own + 0.5 * torch.randn(1, places, width, generator=generator)).to(like.device)
