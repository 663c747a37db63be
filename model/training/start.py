"""The model that a stage of training starts from, and how it is prepared: LoRA, frozen parts, dtypes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from model.inputs.numbers import mask_measured_numbers
from model.inputs.tensors import target_text
from model.petar.architecture import Petar
from model.petar.checkpoints import StageRecord, build_empty_model, build_model, load_checkpoint, read_contract
from model.petar.config import ModelConfig, TrainingSettings
from model.petar.hub import local_path
from model.petar.layouts import expected_inputs
from model.petar.lora import add_lora
from model.petar.tokenizer import PetarTokenizer, has_tokenizer, load_tokenizer, train_tokenizer
from model.petar.weights import load_public_weights, start_new_rows, tensor_names
from model.training.language import warm_up_language
from model.training.request import StageRequest
from model.training.stages import TrainingError, freeze_for, prepare_for_training
from pipelines.settings import QUESTION

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartingModel:
    """What a stage starts from."""

    model: Petar
    tokenizer: PetarTokenizer
    lineage: tuple[StageRecord, ...] = ()
    """The stages that its weights have been through."""


def starting_model(request: StageRequest, device: torch.device, *, reads: bool = True) -> StartingModel:
    """The checkpoint of the request, or a new model with the settings' tokenizer and weights.

    Args:
        request: the stage.
        device: where the language warm-up of a model without pretrained weights runs.
        reads: whether this process reads the weights; if not, the model is on the meta device, without values.
    """
    config, settings, train = request.config, request.settings, request.samples.train
    if request.init is not None:
        loaded = load_checkpoint(request.init, expected=config, with_weights=reads)
        return StartingModel(loaded.model, loaded.tokenizer, loaded.contract.lineage)
    pairs = [(row["question"], target_text(row, config)) for row in train.iter_rows(named=True)]
    texts = [mask_measured_numbers(text) if config.mask_numbers else text for text in request.samples.texts]
    tokenizer = _given_tokenizer(settings)
    if tokenizer is not None:
        # A tokenizer with weights to it has more rows than tokens (Phi-3: 32,064).
        vocab_size = max(len(tokenizer), config.language.vocab_size)
    else:
        own = [text for pair in pairs for text in pair]
        tokenizer = train_tokenizer([*own, *texts], config.language.vocab_size)
        vocab_size = len(tokenizer)
    if not reads:
        return StartingModel(build_empty_model(config, tokenizer, vocab_size), tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = build_model(config, tokenizer, vocab_size)
    for source in (settings.language_weights, settings.vision_weights, settings.model_weights):
        if source:
            report = load_public_weights(model, local_path(source), allow_unexpected=True)
            log.info("weights of %s: %s", source, report.summary())
    has_language = bool(settings.language_weights or settings.model_weights)
    if has_language and tokenizer.new_ids:
        start_new_rows(model, tokenizer)
    if settings.language_steps and not has_language:
        asked = {QUESTION, *train["question"]}
        pairs += [(QUESTION, text) for text in texts if text not in asked]
        warm_up_language(model, tokenizer, pairs, settings.language_steps, seed=settings.seed, device=device)
    return StartingModel(model, tokenizer)


def check_start(config: ModelConfig, settings: TrainingSettings, init: object) -> None:
    """Raises TrainingError where a stage would start a language model from nothing that is made for pretrained
    weights; nothing is loaded for that.
    """
    if init is not None or settings.from_scratch or settings.language_weights or settings.model_weights:
        return
    raise TrainingError(
        f"expected weights of the language model of {config.name}, got none: set language_weights (Phi-3's folder) or "
        "model_weights (a release) in [model.training], start from a checkpoint, or set from_scratch = true to train "
        "it from random weights with a tokenizer of the cohort's texts"
    )


def _given_tokenizer(settings: TrainingSettings) -> PetarTokenizer | None:
    """The tokenizer that is named, or that lies beside the weights of the language model; None where there are none."""
    if settings.tokenizer:
        return load_tokenizer(local_path(settings.tokenizer))
    sources = [source for source in (settings.language_weights, settings.model_weights) if source]
    for source in sources:
        if has_tokenizer(path := local_path(source)):
            return load_tokenizer(path)
    if sources:
        raise TrainingError(
            f"expected a tokenizer beside the weights {', '.join(sources)}, found none: name its folder in `tokenizer`"
        )
    return None


def with_layout_of_weights(request: StageRequest) -> StageRequest:
    """The request with the layout of inputs that its checkpoint or its release was trained on.

    Raises:
        CheckpointError: they cannot be read.
    """
    layout = None
    if request.init is not None:
        layout = read_contract(request.init).config.layout
    elif request.settings.model_weights:
        layout = expected_inputs(tensor_names(local_path(request.settings.model_weights)))
    if layout is None or layout == request.config.layout:
        return request
    log.info("inputs as the weights expect them: %s", layout)
    return replace(request, config=replace(request.config, layout=layout))


def freeze_and_adapt(model: Petar, request: StageRequest) -> Sequence[str]:
    """Adds LoRA where the settings ask for it, freezes what the stage does not train, sets dtypes; returns the names of
    the trained parameters.
    """
    settings = request.settings
    if settings.lora_rank and request.stage.endswith("_full"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            add_lora(model, settings.lora_rank, settings.lora_alpha)
    names = freeze_for(model, request.stage)
    prepare_for_training(model, settings)
    return names
