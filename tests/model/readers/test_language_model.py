"""LoRA of a causal language model, on a tiny one that is made here."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from model.readers.examples import Example
from model.readers.language_model import PROMPT, BaseModelError, questions, train_language_model
from pipelines.reports.llm.answered_mentions import problem_of
from pipelines.reports.llm.prompting import load_prompt
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from pipelines.settings import ReaderTrainingSettings

EXAMPLES = [
    Example("Right axillary node with SUVmax 4.2 (image 88). No other uptake.", ((88, 4.2),)),
    Example("Left lung nodule with SUVmax 5.1.", ((None, 5.1),)),
    Example("The liver lesion with SUVmax 7.7 on slice 90 has resolved.", ()),
]
SETTINGS = ReaderTrainingSettings(epochs=3, batch=1, lora_rank=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    letters = {chr(n): n - 32 for n in range(32, 127)} | {"<end>": 95, "<unk>": 96}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_answers_are_those_of_the_prompt():
    asked = list(questions(EXAMPLES, package_vocabulary()))
    assert [problem_of(answer) for _, answer in asked] == [None] * len(asked)
    assert [[m["suv"] for m in json.loads(answer)["mentions"]] for _, answer in asked] == [[4.2], []]


def test_merged_model_loads_and_differs_in_its_linear_layers_alone(base, tmp_path):
    asked = list(questions(EXAMPLES, package_vocabulary()))
    folder = train_language_model(str(base), tmp_path / "out", asked, load_prompt(PROMPT), SETTINGS)
    before, after = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (base, folder))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert changed
    assert all("proj" in name for name in changed)
    assert (folder / "tokenizer.json").is_file()


def test_a_base_that_is_none_is_told(tmp_path):
    with pytest.raises(BaseModelError, match="causal language model"):
        train_language_model(str(tmp_path), tmp_path / "out", [], load_prompt(PROMPT), SETTINGS)
