"""The preset `small-lm`: a real language model, out of the GGUF file of a Python package."""

from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from model.petar.checkpoints import build_model, load_checkpoint
from model.petar.config import SMALL_LM_WEIGHTS, preset, training_settings
from model.petar.tokenizer import load_tokenizer
from model.petar.weights import load_public_weights
from model.serving.generation import Decoding, generate
from model.training.request import StageRequest, StageSamples
from model.training.train import train_stage
from pipelines.tables.packaged_files import PACKAGE, PackageError, packaged_file

pytestmark = pytest.mark.pretrained


@pytest.fixture(scope="module")
def gguf() -> Path:
    try:
        return packaged_file(SMALL_LM_WEIGHTS.removeprefix(PACKAGE), ".gguf")
    except PackageError as error:
        pytest.skip(f"no language model without network: {error}")


@pytest.fixture
def small_lm(micro):
    return preset("small-lm", vision=micro.vision, inputs=micro.inputs, max_length=128)


def test_logits_are_those_of_the_llama_in_the_file(gguf, small_lm):
    llama = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    words = load_tokenizer(gguf)
    model = build_model(small_lm, words, len(words)).eval()
    report = load_public_weights(model, llama.state_dict())
    assert report.unexpected == ()
    ids = torch.tensor([words.tokenizer.encode("FDG avid node in the left axilla, SUVmax 7.3 on slice 112.")])
    with torch.inference_mode():
        ours, theirs = model.language(ids).logits, llama(ids).logits
    assert (ours[..., : theirs.shape[-1]] - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_trains_and_generates(gguf, small_lm, lake, tmp_path):
    changes = {"epochs": 1, "batch_size": 2, "samples_per_epoch": 2, "validation_samples": 0}
    settings = training_settings("small-lm", "findings_projector", language_weights=str(gguf), **changes)
    samples = StageSamples.of(lake.samples, lake.home)
    result = train_stage(StageRequest("findings_projector", samples, small_lm, settings, tmp_path))
    checkpoint = load_checkpoint(result.checkpoint)
    language = checkpoint.model.language
    assert language.lm_head.weight is language.get_input_embeddings().weight
    words = load_tokenizer(gguf)
    new = [i for i in words.new_ids if i != words.number_id]
    mean = language.lm_head.weight[: min(words.new_ids)].mean(dim=0)
    assert torch.allclose(language.lm_head.weight[new], mean.expand(len(new), -1), atol=1e-6)
    row = lake.samples.filter(pl.col("split") == "val").head(1)
    text = generate(row, checkpoint, lake.home, Decoding(max_new_tokens=4))["text"][0]
    assert text is not None
