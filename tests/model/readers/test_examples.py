"""Training texts: numbers drawn anew, reviewed texts held out."""

import numpy as np
import pytest

from model.readers.examples import TOKEN, number_of, redrawn, split, training_examples
from pipelines.reports.scorecard import Labelled
from pipelines.settings import ReaderTrainingSettings

TEXT = "Level 2 node with SUVmax 4.2 (image 88), previously 9,6; T12 lesion 1.4 cm with SUVmax 5.0."
ITEM = Labelled(TEXT, ((88, 4.2), (None, 5.0)), None, "two")


@pytest.mark.parametrize("seed", range(20))
def test_redrawn_pairs_stand_in_the_redrawn_text(seed):
    drawn = redrawn(ITEM, np.random.default_rng(seed))
    values = [number_of(t) for t in TOKEN.findall(drawn.text) if t[0].isdigit()]
    assert {value for pair in drawn.pairs for value in pair if value is not None} <= set(values)
    assert drawn.pairs[1][0] is None


@pytest.mark.parametrize("seed", range(20))
def test_redrawn_numbers_keep_their_order_and_form(seed):
    drawn = redrawn(ITEM, np.random.default_rng(seed)).text
    numbers = [t for t in TOKEN.findall(drawn) if t[0].isdigit()]
    assert numbers[0] == "2"
    assert "T12 lesion" in drawn
    assert "," in numbers[3]
    assert number_of(numbers[1]) < number_of(numbers[3])


def test_slices_change():
    drawn = {redrawn(ITEM, np.random.default_rng(seed)).pairs[0][0] for seed in range(10)}
    assert len(drawn) > 5


def test_split_depends_on_the_text_alone():
    items = [Labelled(f"Node {n} with SUVmax 4.2.", (), None, "") for n in range(200)]
    kept, held = split(items, 0.3)
    assert split(items[50:], 0.3)[1] == [item for item in held if item in items[50:]]
    assert 30 < len(held) < 90
    assert len(kept) + len(held) == 200


def test_examples_hold_all_sources_in_the_order_of_the_seed():
    settings = ReaderTrainingSettings(generated=30, redrawn=2)
    first, again, other = (training_examples([ITEM], [ITEM], settings, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
