"""The number tagger: what it says stands in the text; it learns, resumes, and votes where it is better."""

import json

import pytest
import torch

from model.readers.examples import Example, training_examples
from model.readers.reader import TaggerReader, load_tagger, mentions_of
from model.readers.tagger import SLICE, SUV, Link, Tagger, encode_labelled, links_of
from model.readers.train import SeedResult, fit, probability_of_equal, train_tagger, verdict, write_reader
from pipelines.reports.passages import passages_of
from pipelines.reports.scorecard import Labelled
from pipelines.reports.sentences import split_report
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from pipelines.settings import ReaderTrainingSettings

SMALL = ReaderTrainingSettings(
    generated=20, redrawn=1, epochs=1, batch=16, width=8, hidden=8, seeds=(0, 1), checkpoint_steps=1
)
WORDS = package_vocabulary()


def result(**values):
    defaults = dict(seed=0, n=100, right=95, wrong=1, rules_right=85, rules_wrong=2, p=0.001)
    return SeedResult(**{**defaults, **values})


class TestEncoding:
    def test_labels_are_of_the_numbers_of_the_pairs(self):
        x = encode_labelled(Example("Node SUVmax 4.2 (image 88), size 1.4 cm", ((88, 4.2),)))
        assert x.values == (4.2, 88.0, 1.4)
        assert x.roles == (SUV, SLICE, 0)
        assert x.links == (1, -1, -1)

    def test_a_pair_that_does_not_stand_there_has_no_labels(self):
        assert encode_labelled(Example("Node SUVmax 4.2", ((88, 4.2),))) is None

    @pytest.mark.parametrize("text", ["", "no number", "\ud800 4.2", "4" * 4000, "1 " * 3000, "SUV ² ٤٫٢ ½"])
    def test_any_text_is_read(self, text):
        links_of(Tagger(8, 8), [text])

    def test_what_it_says_stands_in_the_text(self):
        text = "Nodes with SUVmax 4.2 and 5.1 (images 88 and 92), previously 9,6 on 2/3/2020."
        found = []
        for seed in range(10):
            torch.manual_seed(seed)
            tagger = Tagger(8, 8)
            with torch.no_grad():
                # Roles that differ from number to number, as those of a trained one do.
                tagger.role.weight *= 200
            found += links_of(tagger, [text])[0]
        assert {link.slice is None for link in found} == {True, False}
        for link in found:
            assert float(text[slice(*link.suv_span)].replace(",", ".")) == link.suv
            assert link.slice is None or int(text[slice(*link.slice_span)]) == link.slice

    def test_about_a_million_parameters(self):
        settings = ReaderTrainingSettings()
        assert 0.8e6 < sum(p.numel() for p in Tagger(settings.width, settings.hidden).parameters()) < 1.5e6


class TestFit:
    def test_learns_one_form(self, tmp_path):
        settings = SMALL.changed(epochs=30, learning_rate=0.02, width=16, hidden=16)
        texts = {n: f"Node with SUVmax {n / 10} (image {60 + n})." for n in range(31, 95, 2)}
        examples = [Example(text, ((60 + n, n / 10),)) for n, text in texts.items()]
        tagger = fit(tmp_path, examples, settings, 0)
        (links,) = links_of(tagger, ["Node with SUVmax 7.4 (image 211)."])
        assert [(x.slice, x.suv) for x in links] == [(211, 7.4)]

    def test_a_killed_training_goes_on_where_it_was(self, tmp_path, monkeypatch):
        examples = training_examples([], [], SMALL, 0)
        whole = fit(tmp_path / "whole", examples, SMALL, 0)
        steps = []

        def killed(outputs, batch):
            steps.append(len(batch))
            if len(steps) == 2:
                raise KeyboardInterrupt
            return loss(outputs, batch)

        from model.readers import train

        loss = train.loss_of
        monkeypatch.setattr(train, "loss_of", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "killed", examples, SMALL, 0)
        resumed = fit(tmp_path / "killed", examples, SMALL, 0)
        assert len(steps) == 2 + -(-len(examples) // SMALL.batch) - 1
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
            assert torch.equal(a, b)


class TestReader:
    def passage(self, text):
        (passage,) = passages_of(split_report("E", text))
        return passage

    def test_fields_are_those_of_the_lexicon(self):
        text = "Right axillary node with SUVmax 4.2 (image 88). It abuts nothing."
        begin = text.index("4.2")
        link = Link(4.2, (begin, begin + 3), 88, (text.index("88"), text.index("88") + 2))
        (mention,) = mentions_of(self.passage(text), [link], WORDS)
        assert (mention.slice, mention.suv, mention.organ, mention.laterality) == (88, 4.2, "lymph node", "right")

    def test_is_made_by_the_readers_file(self, tmp_path):
        write_reader(tmp_path / "r", Tagger(8, 8), {"width": 8, "hidden": 8, "may_vote": False})
        reader = load_tagger("tagger", tmp_path / "r", WORDS)
        (reading,) = reader.read([self.passage("Right axillary node with SUVmax 4.2 (image 88).")])
        assert reading.reader == "tagger"
        assert not reader.may_vote
        assert reader.version == TaggerReader("tagger", tmp_path / "r", WORDS).version

    def test_a_folder_without_a_tagger_is_named(self, tmp_path):
        with pytest.raises(ValueError, match="petar reader train"):
            load_tagger("tagger", tmp_path, WORDS)


class TestVote:
    def test_equal_readers(self):
        assert probability_of_equal(0, 0) == 1
        assert probability_of_equal(5, 5) == pytest.approx(0.623, abs=1e-3)
        assert probability_of_equal(10, 0) == pytest.approx(1 / 1024)

    @pytest.mark.parametrize(
        ("results", "may_vote"),
        [
            ([result(), result(seed=1)], True),
            ([result(), result(seed=1, right=84)], False),
            ([result(), result(seed=1, wrong=3)], False),
            ([result(), result(seed=1, p=0.2)], False),
            ([result(n=20), result(seed=1, n=20)], False),
            ([], False),
        ],
    )
    def test_is_given_where_all_seeds_are_better(self, results, may_vote):
        assert verdict(results, ReaderTrainingSettings())[0] is may_vote

    def test_card_tells_every_seed(self, tmp_path):
        texts = {n: f"Left node {n} with SUVmax 4.{n}." for n in range(9)}
        reviewed = [Labelled(text, ((None, float(f"4.{n}")),), None, "SUV only") for n, text in texts.items()]
        trained = train_tagger(tmp_path, [], reviewed, SMALL, WORDS)
        card = json.loads((trained.folder / "card.json").read_text())
        assert [seed["seed"] for seed in card["seeds"]] == [0, 1]
        assert card["may_vote"] is False
        assert "are needed" in card["why"]
