"""BERTScore and BARTScore on tiny models made here: against the definition, word by word, and their messages."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from model.evaluation.metrics.neural import bartscore, bertscore
from model.evaluation.metrics.pairs import Pairs
from model.evaluation.metrics.settings import NotComputableError
from pipelines.settings import ScoreSettings

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"avid focus in the left right lung liver node bone".split(" ")]  # noqa: SIM905
PAIRS = Pairs(["avid focus in the left lung", "node"], ["focus in the right lung", "avid node in bone"], ["a", "b"])


def save_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert-tiny")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bart-tiny")
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    marks = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    config = transformers.BartConfig(vocab_size=len(WORDS), forced_eos_token_id=None, **sizes, **heads, **marks)
    transformers.BartForConditionalGeneration(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


class TestBertScore:
    def test_equals_its_definition(self, bert: Path) -> None:
        computed = bertscore(PAIRS, ScoreSettings(bertscore_model=bert, bertscore_layer=2)).per_sample
        model = transformers.BertModel.from_pretrained(bert).eval()
        for text, reference, value in zip(PAIRS.texts, PAIRS.references, computed, strict=True):
            vectors = []
            for words in (text, reference):
                ids = [2, *(WORDS.index(w) for w in words.split()), 3]
                with torch.no_grad():
                    hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0, 1:-1].numpy()
                vectors.append([v / np.linalg.norm(v) for v in hidden])
            precision = np.mean([max(float(t @ r) for r in vectors[1]) for t in vectors[0]])
            recall = np.mean([max(float(t @ r) for t in vectors[0]) for r in vectors[1]])
            assert value == pytest.approx(2 * precision * recall / (precision + recall), rel=1e-4)

    def test_equal_texts_score_one(self, bert: Path) -> None:
        same = Pairs(PAIRS.texts, PAIRS.texts, PAIRS.patients)
        assert bertscore(same, ScoreSettings(bertscore_model=bert, bertscore_layer=3)).per_sample == pytest.approx(1)

    def test_layer_that_is_not_there(self, bert: Path) -> None:
        with pytest.raises(NotComputableError, match=r"layer in 1\.\.3"):
            bertscore(PAIRS, ScoreSettings(bertscore_model=bert))

    def test_no_weights_named(self) -> None:
        with pytest.raises(NotComputableError, match="set the folder `bertscore_model`"):
            bertscore(PAIRS, ScoreSettings())

    def test_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(NotComputableError, match=r"config\.json"):
            bertscore(PAIRS, ScoreSettings(bertscore_model=tmp_path))

    def test_folder_without_weights(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(NotComputableError, match="can not be loaded"):
            bertscore(PAIRS, ScoreSettings(bertscore_model=tmp_path))


class TestBartScore:
    def test_equals_its_definition(self, bart: Path) -> None:
        computed = bartscore(PAIRS, ScoreSettings(bartscore_model=bart)).per_sample
        model = transformers.BartForConditionalGeneration.from_pretrained(bart).eval()
        for text, reference, value in zip(PAIRS.texts, PAIRS.references, computed, strict=True):
            source, target = ([2, *(WORDS.index(w) for w in words.split()), 3] for words in (text, reference))
            with torch.no_grad():
                loss = model(torch.tensor([source]), labels=torch.tensor([target])).loss
            assert value == pytest.approx(-float(loss), rel=1e-4)

    def test_no_weights_named(self) -> None:
        with pytest.raises(NotComputableError, match="set the folder `bartscore_model`"):
            bartscore(PAIRS, ScoreSettings())
