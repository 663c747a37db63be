import re

import pytest

from pipelines.phantom.passages.generator import LANGUAGES, passages

N = 300


@pytest.fixture(scope="module", params=LANGUAGES)
def generated(request):
    return list(passages(N, seed=3, language=request.param))


def test_same_seed_gives_the_same_passages_and_another_seed_others(generated):
    language = generated[0].language
    assert list(passages(N, seed=3, language=language)) == generated
    assert list(passages(N, seed=4, language=language)) != generated


def test_a_passage_does_not_depend_on_how_many_are_asked_for(generated):
    assert list(passages(20, seed=3, language=generated[0].language)) == generated[:20]


def test_no_placeholder_is_left(generated):
    assert [p.text for p in generated if re.search(r"[{}\[\]|]", p.text)] == []


def test_values_of_a_mention_stand_in_the_text(generated):
    for passage in generated:
        numbers = re.findall(r"\d+(?:[.,]\d+)?", passage.text)
        values = {float(number.replace(",", ".")) for number in numbers}
        for mention in passage.mentions:
            assert mention.suvmax in values, passage
            assert mention.slice is None or re.search(rf"(?<!\d){mention.slice}(?!\d)", passage.text), passage


def test_mentions_of_a_passage_have_different_suvs_and_organs(generated):
    for passage in generated:
        assert len({m.suvmax for m in passage.mentions}) == len(passage.mentions), passage
        assert len({m.organ for m in passage.mentions}) == len(passage.mentions), passage


def test_every_kind_comes_up(generated):
    assert len({p.kind for p in generated}) >= 9
