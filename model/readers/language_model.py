"""LoRA of a causal language model that answers the prompt of a reader: `petar reader train --base MODEL`."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from model.petar.checkpoints import write_folder_atomically
from model.petar.lora import merge_layers
from model.readers.examples import Example, number_of
from pipelines.reports.llm.prompting import Prompt
from pipelines.reports.passages import passages_of
from pipelines.reports.sentences import split_report
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.settings import ReaderTrainingSettings

LOG = logging.getLogger(__name__)
PROMPT = "passage-small-v1"
"""What the model is trained to answer, and is asked with."""
_NOT_IN_LOSS = -100


class BaseModelError(ValueError):
    """The base cannot be loaded or trained; the message says what to do."""


def questions(examples: Sequence[Example], vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    """Passages of the examples with the answers that are wanted, those without a lesion too."""
    for n, example in enumerate(examples):
        for passage in passages_of(split_report(f"E{n}", example.text, vocabulary), vocabulary):
            entries = []
            for number, suvmax in example.pairs:
                said = [i for i, s in enumerate(passage.sentences, start=1) if _stands(suvmax, s.sentence)]
                if said and number is not None:
                    entries.append({"sentences": said[:1], "role": "lesion", "exam": "current", "suv": suvmax,
                                    "slice": number})  # fmt: skip
                elif said:
                    break  # The prompt asks for both values.
            else:
                yield passage.text, json.dumps({"mentions": entries})


def _stands(value: float, text: str) -> bool:
    tokens = text.replace(",", ".").replace("(", " ").replace(")", " ").split()
    return any(t.strip(";:.") and t[0].isdigit() and _same(t.strip(";:."), value) for t in tokens)


def _same(token: str, value: float) -> bool:
    try:
        return number_of(token) == value
    except ValueError:
        return False


def train_language_model(
    base: str, folder: Path, asked: Sequence[tuple[str, str]], prompt: Prompt, settings: ReaderTrainingSettings
) -> Path:
    """Trains LoRA on questions and answers, merges it, and writes model and tokenizer to `folder` for vLLM.

    Args:
        base: name or folder of a causal language model of Hugging Face with a fast tokenizer.
        asked: passages with the answers that are wanted.

    Raises:
        BaseModelError: the base cannot be loaded, or none of its layers takes LoRA.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(settings.seeds[0])
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"expected a causal language model in {base}, got none that can be loaded: name a folder or a model that is"
            " in the cache of Hugging Face"
        ) from error
    if torch.cuda.is_available():
        model.to("cuda")
    n_layers = add_lora(model, settings.lora_rank)
    if not n_layers:
        raise BaseModelError(f"expected linear layers in {base} to put LoRA beside, got none: take another base")
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=settings.learning_rate / 10)
    texts = [_tokens(tokenizer, prompt, question, answer) for question, answer in asked]
    order = [i for _ in range(settings.epochs) for i in torch.randperm(len(texts)).tolist()]
    model.train()
    for step, begin in enumerate(range(0, len(order), settings.batch), start=1):
        batch = [texts[i] for i in order[begin : begin + settings.batch]]
        losses = [_loss(model, *text) / len(batch) for text in batch]
        optimiser.zero_grad()
        for loss in losses:
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        if step % settings.checkpoint_steps == 0:
            LOG.info("step %d, loss %.4f", step, float(sum(losses)))
    merge_layers(model)

    def write(temporary: Path) -> None:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)

    write_folder_atomically(folder, write)
    return folder


def _tokens(tokenizer: Any, prompt: Prompt, question: str, answer: str) -> tuple[Tensor, Tensor]:
    """Tokens of a chat and its labels, of which the answer's alone count."""
    messages = prompt.messages(question)
    if tokenizer.chat_template:
        before = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    else:
        before = "\n".join(f"{m['role']}: {m['content']}" for m in messages) + "\nassistant: "
    head = tokenizer(before, add_special_tokens=False)["input_ids"]
    tail = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return torch.tensor([head + tail]), torch.tensor([[_NOT_IN_LOSS] * len(head) + tail])


def _loss(model: Any, tokens: Tensor, labels: Tensor) -> Tensor:
    loss: Tensor = model(input_ids=tokens.to(model.device), labels=labels.to(model.device)).loss
    return loss


def add_lora(model: nn.Module, rank: int) -> int:
    """Freezes a model and puts LoRA beside each of its linear layers but the last; returns beside how many."""
    model.requires_grad_(False)
    last = getattr(model, "lm_head", None)
    names = [name for name, child in model.named_modules() if isinstance(child, nn.Linear) and child is not last]
    if names:
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names), model)
    return len(names)
