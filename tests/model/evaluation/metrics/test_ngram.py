"""BLEU and ROUGE against the answers in their packages' own documentation."""

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from model.evaluation.metrics.ngram import bleu, bleu_of, rouge_1, rouge_l
from model.evaluation.metrics.pairs import Pairs
from pipelines.settings import ScoreSettings

SETTINGS = ScoreSettings()

TEXTS = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]


def pairs() -> Pairs:
    return Pairs(TEXTS, REFERENCES[0], ["a", "b", "c"])


class TestBleu:
    def test_answer_of_the_package_documentation(self) -> None:
        assert 100 * bleu_of(TEXTS, REFERENCES).values(np.ones((1, 3)))[0] == pytest.approx(48.530827, abs=1e-6)

    def test_weights_are_repetitions_of_the_corpus(self) -> None:
        weighted = bleu(pairs(), SETTINGS).values(np.array([[2.0, 0.0, 1.0]]))[0]
        repeated = BLEU().corpus_score([TEXTS[i] for i in (0, 0, 2)], [[REFERENCES[0][i] for i in (0, 0, 2)]])
        assert 100 * weighted == pytest.approx(repeated.score)

    def test_signature_names_the_variant(self) -> None:
        assert "tok:13a|smooth:exp|version:" in bleu(pairs(), SETTINGS).signature

    def test_equal_texts_score_one(self) -> None:
        same = bleu(Pairs(TEXTS, TEXTS, ["a", "b", "c"]), SETTINGS)
        assert same.values(np.ones((1, 3)))[0] == pytest.approx(1)
        assert same.per_sample == pytest.approx(1)

    def test_no_word_in_common_scores_zero(self) -> None:
        assert bleu(Pairs(["aa bb"], ["cc dd"], ["a"]), SETTINGS).values(np.ones((1, 1)))[0] == 0


class TestRougeL:
    def test_answer_of_the_package_documentation(self) -> None:
        computed = rouge_l(Pairs(["testing two"], ["testing one two"], ["a"]), SETTINGS)
        assert computed.per_sample == pytest.approx(0.8)

    def test_is_the_mean_of_its_samples(self) -> None:
        computed = rouge_l(Pairs(["testing two", "x"], ["testing one two", "y"], ["a", "b"]), SETTINGS)
        assert computed.values(np.ones((1, 2)))[0] == pytest.approx(0.4)


class TestRouge1:
    def test_does_not_see_the_order_of_words(self) -> None:
        turned = Pairs(["two testing"], ["testing one two"], ["a"])
        assert rouge_1(turned, SETTINGS).values(np.ones((1, 1)))[0] == pytest.approx(0.8)
        assert rouge_l(turned, SETTINGS).values(np.ones((1, 1)))[0] == pytest.approx(0.4)
