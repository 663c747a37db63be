"""What answers questions: the model in this process, or its language part on a vLLM server.

Questions about one lesion share its visual tokens, which are kept for a while, and equal questions of a batch are
answered once.
"""

import base64
import io
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

import httpx2
import torch
from torch import Tensor

from model.inputs.tensors import Item, SampleError, padded_tokens
from model.inputs.threads import limited_threads
from model.petar.architecture import Petar
from model.petar.checkpoints import Checkpoint
from model.petar.tokenizer import PetarTokenizer
from model.serving.shared_cache import SharedCache
from pipelines.tables.errors import first_line

_SMALL_MODEL = 10_000_000
_VISUAL_BYTES = 256 << 20
"""Of visual tokens that are kept; 3 MiB a lesion at petar-4b."""


class EngineError(RuntimeError):
    """An engine that does not answer; the message says what to do."""


@dataclass(frozen=True)
class Ask:
    """One question to an engine."""

    item: Item
    most: int
    """New tokens at most."""
    images_key: Hashable = field(default_factory=object)
    """Equal for questions with equal images."""

    @property
    def same(self) -> Hashable:
        """Equal for questions that have the same answer."""
        return self.images_key, tuple(self.item.encoded.prompt)


@dataclass(frozen=True)
class Answer:
    """What the model said to one question."""

    text: str
    n_tokens: int
    """Generated, an end token included."""
    is_whole: bool
    """It ended by itself, and not at the most tokens that it might have."""


class Engine(Protocol):
    """Answers questions."""

    def answers(self, asked: Sequence[Ask]) -> list[Answer]:
        """The model's greedy answers in the order of the questions.

        Raises:
            SampleError: a prompt leaves no room for an answer.
            EngineError: the engine does not answer.
        """
        ...


class _Embedder:
    """Prompts as input embeddings; visual tokens of the last lesions are kept."""

    def __init__(self, model: Petar, device: torch.device) -> None:
        self.model, self.device = model.eval(), device
        # One thread for a tiny model: see `limited_threads`.
        self.threads = 1 if sum(p.numel() for p in model.parameters()) < _SMALL_MODEL else 0
        self._visual: SharedCache[Tensor] = SharedCache(_VISUAL_BYTES, lambda tokens: tokens.nbytes)

    def visual_tokens(self, asked: Sequence[Ask]) -> Tensor:
        """Visual tokens (questions, tokens, width); those of new lesions are computed in one batch."""
        wanted = {ask.images_key: ask.item for ask in asked}
        found = {key: tokens for key in wanted if (tokens := self._visual.kept(key)) is not None}
        new = [key for key in wanted if key not in found]
        if new:
            images = torch.stack([wanted[key].images for key in new]).to(self.device)
            focal = [focal.to(self.device) for key in new if (focal := wanted[key].focal) is not None]
            for key, tokens in zip(new, self.model.visual_tokens(images, torch.stack(focal) if focal else None)):
                found[key] = tokens.clone()
                self._visual.keep(key, found[key])
        return torch.stack([found[ask.images_key] for ask in asked])


@dataclass
class OwnEngine:
    """The whole model in this process."""

    checkpoint: Checkpoint
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        self._embedder = _Embedder(self.checkpoint.model.to(self.device), self.device)

    @torch.inference_mode()
    def answers(self, asked: Sequence[Ask]) -> list[Answer]:
        """As of `Engine`, in one batch padded on the left."""
        tokenizer, model = self.checkpoint.tokenizer, self.checkpoint.model
        once = {ask.same: ask for ask in asked}
        encoded = [ask.item.encoded for ask in once.values()]
        # Of each its own: a long prompt beside a question leaves it no less room.
        most = [min(ask.most, _room(self.checkpoint, len(ask.item.encoded.prompt))) for ask in asked]
        ids, mask, _ = (t.to(self.device) for t in padded_tokens(encoded, tokenizer.pad_id, pad_left=True))
        with limited_threads(self._embedder.threads):
            embeddings = model.embed_with(ids, self._embedder.visual_tokens(list(once.values())))
            tokens = model.decode(
                embeddings,
                mask,
                max_new_tokens=max(most),
                eos_id=tokenizer.eos_id,
                pad_id=tokenizer.pad_id,
            )
        rows = dict(zip(once, tokens.tolist()))
        return [_answer_of(rows[ask.same][:own], tokenizer) for ask, own in zip(asked, most)]


def _room(checkpoint: Checkpoint, n_prompt: int) -> int:
    """Tokens that are left for an answer. Raises SampleError where none are."""
    most = checkpoint.contract.config.language.max_positions
    if n_prompt >= most:
        raise SampleError(f"expected a prompt under the model's {most} tokens, got {n_prompt}: ask a shorter question")
    return most - n_prompt


def _answer_of(ids: list[int], tokenizer: PetarTokenizer) -> Answer:
    is_whole = tokenizer.eos_id in ids
    return Answer(tokenizer.decode(ids), ids.index(tokenizer.eos_id) + 1 if is_whole else len(ids), is_whole)


@dataclass
class VllmEngine:
    """The language part on a vLLM server that takes embeddings (`--enable-prompt-embeds`); images become visual tokens
    in this process.

    Args:
        checkpoint: the model whose language part the server holds (`model.petar.export.save_language`).
        url: of the server, without /v1.
        name: of the model there.
        device: where the visual tokens are computed.
        timeout_s: of one answer.
    """

    checkpoint: Checkpoint
    url: str
    name: str
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        model = self.checkpoint.model
        for part in (model.vision, model.projector, model.language.get_input_embeddings()):
            part.to(self.device)
        self._embedder = _Embedder(model, self.device)
        self._client = httpx2.Client(base_url=self.url, timeout=self.timeout_s)

    @torch.inference_mode()
    def answers(self, asked: Sequence[Ask]) -> list[Answer]:
        """As of `Engine`; the server batches what is sent side by side."""
        once = {ask.same: max((a for a in asked if a.same == ask.same), key=lambda a: a.most) for ask in asked}
        unique = list(once.values())
        with limited_threads(self._embedder.threads):
            visual = self._embedder.visual_tokens(unique)
            prompts = [
                self.checkpoint.model.embed_with(torch.tensor([ask.item.encoded.prompt], device=self.device), own)[0]
                for ask, own in zip(unique, visual[:, None])
            ]
        most = [min(ask.most, _room(self.checkpoint, len(ask.item.encoded.prompt))) for ask in unique]
        with ThreadPoolExecutor(len(unique), "vllm") as pool:
            said = dict(zip(once, pool.map(self._complete, prompts, most)))
        return [_answer_of(said[ask.same][: ask.most], self.checkpoint.tokenizer) for ask in asked]

    def _complete(self, prompt: Tensor, most: int) -> list[int]:
        """New token ids of an embedded prompt (length, width)."""
        body = {
            "model": self.name,
            "prompt_embeds": _packed(prompt),
            "max_tokens": most,
            "temperature": 0,
            "return_token_ids": True,
        }
        try:
            response = self._client.post("/v1/completions", json=body)
            answered: dict[str, Any] = response.json()
            if response.status_code != HTTPStatus.OK:
                raise EngineError(
                    f"expected the vLLM server at {self.url} to take embeddings, it answered {response.status_code}"
                    f" ({_reason(answered)}): start it with --enable-prompt-embeds and the exported language part"
                )
            return [int(i) for i in answered["choices"][0]["token_ids"]]
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, IndexError) as error:
            raise EngineError(
                f"expected an answer of the vLLM server at {self.url}, got none ({first_line(error)}): see its log"
            ) from error


def _packed(tensor: Tensor) -> str:
    """A tensor as vLLM takes it: saved by torch, in base64."""
    file = io.BytesIO()
    torch.save(tensor.detach().cpu().clone(), file)
    return base64.b64encode(file.getvalue()).decode()


def _reason(answered: dict[str, Any]) -> str:
    error = answered.get("error")
    return str(error.get("message", "") if isinstance(error, dict) else error)[:200]
