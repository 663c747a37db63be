"""Metrics that need the weights of a language model, given by path: BERTScore and BARTScore. Never downloaded.

torch and transformers are imported where they are used, so that the other metrics need neither.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.evaluation.metrics.pairs import Mean, Pairs
from model.evaluation.metrics.settings import NotComputableError
from pipelines.settings import ScoreSettings
from pipelines.tables.errors import first_line

if TYPE_CHECKING:
    import torch

_BATCH = 16


def _folder(path: Path | None, metric: str, setting: str, usual: str) -> Path:
    if path is None:
        raise NotComputableError(
            f"{metric} needs the weights of a language model: set the folder `{setting}` ({usual} is usual)"
        )
    if not (path / "config.json").is_file():
        raise NotComputableError(
            f"{metric} needs a folder with config.json, weights and tokenizer, got {path}: fix `{setting}`"
        )
    return path


def _load(folder: Path, metric: str, loader: str) -> tuple[Any, Any]:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = getattr(transformers, loader).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise NotComputableError(f"{metric}: the model in {folder} can not be loaded ({first_line(error)})") from error
    # Some tokenizers are saved without their limit and would let a text through that the model can not hold.
    limit = getattr(model.config, "max_position_embeddings", 512)
    # RoBERTa counts its positions from the padding id + 1 on.
    offset = (tokenizer.pad_token_id or 0) + 1 if model.config.model_type in ("roberta", "xlm-roberta") else 0
    tokenizer.model_max_length = min(tokenizer.model_max_length, limit - offset)
    return tokenizer, model.eval()


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _BATCH):
        yield texts[start : start + _BATCH]


def bertscore(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean F of BERTScore (Zhang et al. 2020): each word piece with the piece most alike, no weights by rareness, not
    rescaled.
    """
    folder = _folder(settings.bertscore_model, "BERTScore", "bertscore_model", "roberta-large")
    tokenizer, model = _load(folder, "BERTScore", "AutoModel")
    n_layers = model.config.num_hidden_layers
    if not 0 < settings.bertscore_layer <= n_layers:
        raise NotComputableError(
            f"BERTScore: expected a layer in 1..{n_layers} of {folder.name}, got {settings.bertscore_layer}: "
            "set `bertscore_layer`"
        )
    device = settings.device
    model = model.to(device)
    each = []
    said = pairs.at(pairs.said)
    for texts, references in zip(_batches(said.texts), _batches(said.references), strict=True):
        of_texts = _vectors(texts, tokenizer, model, settings.bertscore_layer, device)
        of_references = _vectors(references, tokenizer, model, settings.bertscore_layer, device)
        each += [_f_measure(t, r) for t, r in zip(of_texts, of_references, strict=True)]
    signature = f"petar|BERTScore F|model:{folder.name}|layer:{settings.bertscore_layer}|idf:no|rescaled:no"
    return Mean(pairs.spread(each), signature)


def _vectors(texts: Sequence[str], tokenizer: Any, model: Any, layer: int, device: str) -> "list[torch.Tensor]":
    """Unit vectors of every text's pieces (pieces x width), without the marks of begin and end."""
    import torch

    batch = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, return_special_tokens_mask=True)
    keep = batch.pop("special_tokens_mask") == 0
    with torch.inference_mode():
        hidden = model(**batch.to(device), output_hidden_states=True).hidden_states[layer].float().cpu()
    hidden = torch.nn.functional.normalize(hidden, dim=-1)
    return [vectors[there] for vectors, there in zip(hidden, keep, strict=True)]


def _f_measure(text: "torch.Tensor", reference: "torch.Tensor") -> float:
    if not len(text) or not len(reference):
        return 0.0
    alike = text @ reference.T
    precision, recall = float(alike.max(dim=1).values.mean()), float(alike.max(dim=0).values.mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def bartscore(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean BARTScore (Yuan et al. 2021): log-likelihood of the reference's pieces given the text, per piece. At most
    0.
    """
    folder = _folder(settings.bartscore_model, "BARTScore", "bartscore_model", "bart-large-cnn")
    tokenizer, model = _load(folder, "BARTScore", "AutoModelForSeq2SeqLM")
    model = model.to(settings.device)
    each: list[float] = []
    for texts, references in zip(_batches(pairs.texts), _batches(pairs.references), strict=True):
        each += _likelihoods(texts, references, tokenizer, model, settings.device)
    return Mean(np.array(each), f"petar|BARTScore|text to reference|model:{folder.name}")


def _likelihoods(
    texts: Sequence[str], references: Sequence[str], tokenizer: Any, model: Any, device: str
) -> list[float]:
    import torch

    source = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True).to(device)
    target = tokenizer(list(references), return_tensors="pt", padding=True, truncation=True).to(device)
    there = target["attention_mask"].bool()
    with torch.inference_mode():
        logits = model(
            input_ids=source["input_ids"], attention_mask=source["attention_mask"], labels=target["input_ids"]
        ).logits.float()
    likelihood = logits.log_softmax(dim=-1).gather(2, target["input_ids"].unsqueeze(2)).squeeze(2)
    return ((likelihood * there).sum(dim=1) / there.sum(dim=1)).cpu().tolist()
