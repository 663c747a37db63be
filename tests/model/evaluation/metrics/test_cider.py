"""CIDEr against what pycocoevalcap 1.2 gave for the same tokens, and as a corpus metric under weights."""

import random

import numpy as np
import pytest

from model.evaluation.metrics.cider import cider_of, tokenize

WORDS = "avid focus in the left right lung liver node bone with suvmax of on slice new".split()  # noqa: SIM905


def made(n: int) -> tuple[list[list[str]], list[list[str]]]:
    """The same n pairs on every machine: references of up to 14 words, texts that drop some and add some."""
    rng = random.Random(n)
    references = [[rng.choice(WORDS) for _ in range(rng.randint(0, 14))] for _ in range(n)]
    texts = [
        [word for word in reference if rng.random() < 0.8] + [rng.choice(WORDS) for _ in range(rng.randint(0, 3))]
        for reference in references
    ]
    return texts, references


class TestCider:
    # Scores of pycocoevalcap 1.2 (CiderScorer) on these pairs, computed once.
    @pytest.mark.parametrize(("n", "score"), [(1, 0.0), (2, 6.401341720078577), (200, 5.009730797841348)])
    def test_equals_the_reference_package(self, n: int, score: float) -> None:
        assert cider_of(*made(n)).values(np.ones((1, n)))[0] == pytest.approx(score, rel=1e-12)

    def test_samples_equal_the_reference_package(self) -> None:
        expected = [0.0, 3.71999408, 4.93432188, 7.70941211]
        assert cider_of(*made(200)).per_sample[:4] == pytest.approx(expected, abs=1e-8)

    def test_equals_the_package_where_it_is_installed(self) -> None:
        scorer = pytest.importorskip("pycocoevalcap.cider.cider_scorer").CiderScorer()
        texts, references = made(150)
        for text, reference in zip(texts, references, strict=True):
            scorer += (" ".join(text), [" ".join(reference)])
        corpus, each = scorer.compute_score()
        computed = cider_of(texts, references)
        assert computed.values(np.ones((1, 150)))[0] == pytest.approx(corpus)
        assert computed.per_sample == pytest.approx(each)

    def test_weights_are_repetitions_of_the_corpus(self) -> None:
        texts, references = made(40)
        drawn = np.random.default_rng(0).integers(0, 40, 40)
        repeated = cider_of([texts[i] for i in drawn], [references[i] for i in drawn]).values(np.ones((1, 40)))
        weights = np.bincount(drawn, minlength=40)[None].astype(float)
        assert cider_of(texts, references).values(weights) == pytest.approx(repeated)

    def test_is_not_the_mean_of_its_parts(self) -> None:
        texts, references = made(40)
        halves = [cider_of(texts[s], references[s]).values(np.ones((1, 20)))[0] for s in (slice(20), slice(20, 40))]
        assert cider_of(texts, references).values(np.ones((1, 40)))[0] != pytest.approx(np.mean(halves))

    def test_equal_texts_score_ten(self) -> None:
        texts = [["left", "lung", "nodule", str(i)] for i in range(5)]
        assert cider_of(texts, texts).per_sample == pytest.approx(10)

    def test_no_weight_at_all_has_no_score(self) -> None:
        assert np.isnan(cider_of(*made(4)).values(np.zeros((1, 4)))).all()


class TestTokenize:
    def test_words_and_numbers_without_punctuation(self) -> None:
        assert tokenize("Avid nodule (2.1 x 1.4 cm), SUVmax: 8.2; [#].") == [
            *("avid", "nodule", "2.1", "x", "1.4", "cm", "suvmax", "8.2", "[#]")
        ]
