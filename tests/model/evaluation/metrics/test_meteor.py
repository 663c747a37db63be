"""METEOR against the answer in nltk's documentation, where WordNet is there, and its message where it is not."""

from pathlib import Path

import pytest

from model.evaluation.metrics.meteor import find_wordnet, meteor_no_synonyms, meteor_score
from model.evaluation.metrics.pairs import Pairs
from model.evaluation.metrics.settings import NotComputableError
from pipelines.settings import ScoreSettings


@pytest.fixture(scope="module")
def wordnet() -> Path:
    try:
        return find_wordnet(None)
    except NotComputableError as error:
        pytest.skip(str(error))


class TestMeteor:
    def test_answer_of_the_package_documentation(self, wordnet: Path) -> None:
        text = "It is a guide to action which ensures that the military always obeys the commands of the party"
        reference = "It is a guide to action that ensures that the military will forever heed Party commands"
        assert meteor_score(text, reference, wordnet) == pytest.approx(0.6944, abs=5e-5)

    def test_synonym_counts(self, wordnet: Path) -> None:
        # Words that the stemmer leaves as they are: nltk looks up the stems of the others.
        assert meteor_score("the car", "the auto", wordnet) > meteor_score("the car", "the dog", wordnet)


class TestFindWordnet:
    def test_folder_without_it_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(NotComputableError, match="install Debian's wordnet-base"):
            find_wordnet(tmp_path)

    def test_finds_the_same_before_and_after_a_score(self, wordnet: Path) -> None:
        meteor_score("the car", "the auto", wordnet)
        assert find_wordnet(None) == wordnet


class TestWithoutSynonyms:
    def test_needs_no_wordnet_and_is_never_more_than_forms_and_stems(self) -> None:
        pairs = Pairs(
            ["avid nodes in the neck", "tumour", ""], ["avid node in the neck", "tumor", "node"], ["a", "b", "c"]
        )
        computed = meteor_no_synonyms(pairs, ScoreSettings())
        assert computed.per_sample[0] > 0.9
        assert computed.per_sample[1:].tolist() == [0, 0]
        assert "without synonyms" in computed.signature
