"""The reader against a real vLLM server: PETAR_VLLM_URL names it. What the model said is kept in
build/vllm-readings.json.
"""

import json
import os

import pytest

from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.prompting import load_prompt
from pipelines.reports.llm.servers import ServerSettings
from pipelines.reports.llm.vllm_server import ServerPlan, served_models
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.scorecard import ENSEMBLE, load_labelled, score
from pipelines.reports.sentences import split_report
from pipelines.settings import ConsensusSettings
from tests.support.paths import ROOT

URL = os.environ.get("PETAR_VLLM_URL", "").rstrip("/").removesuffix("/v1")
N_SENTENCES = 24
KEPT = ROOT / "build" / "vllm-readings.json"

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not URL, reason="PETAR_VLLM_URL names no server"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def plan():
    host, _, port = URL.removeprefix("http://").partition(":")
    return ServerPlan(host=host, port=int(port or 80))


@pytest.fixture(scope="module")
def labelled():
    # Every fourth, so that all topics are among them.
    return load_labelled()[::4][: N_SENTENCES + 10]


@pytest.fixture(scope="module")
def reader(plan, tmp_path_factory):
    models = served_models(plan)
    assert models, f"expected a server at {URL}, got no answer: start it with `make vllm`"
    cache = AnswerCache(tmp_path_factory.mktemp("vllm") / "answers.sqlite")
    yield LlmReader(
        "vllm", ServerSettings(models[0], f"{URL}/v1", timeout_s=300.0), load_prompt("passage-small-v1"), cache
    )
    cache.close()


@pytest.fixture(scope="module")
def card(labelled, reader):
    card = score(labelled, [RulesReader(), reader], ConsensusSettings(weights={"vllm": 0.5}))
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps({"scores": card.scores.to_dicts(), "answers": card.answers.to_dicts()}, indent=1))
    return card


def rows_of(card, reader):
    return card.answers.filter(reader=reader).to_dicts()


class TestRealServer:
    def test_answers_at_least_twenty_sentences_by_the_schema(self, card):
        answered = [row for row in rows_of(card, "vllm") if row["error"] is None and row["outcome"] != "no candidate"]
        assert len(answered) >= 20

    def test_reads_numbers_out_of_the_sentences(self, card):
        # The smallest model reads most slices; a prompt or template that is broken reads next to none.
        (score,) = card.scores.filter(reader="vllm").to_dicts()
        assert score["slice_right"] >= 0.5

    def test_ensemble_is_not_below_its_best_reader(self, card):
        best = max(row["both_right"] for row in card.scores.to_dicts() if row["reader"] != ENSEMBLE)
        (ensemble,) = card.scores.filter(reader=ENSEMBLE).to_dicts()
        assert ensemble["both_right"] >= best
        assert ensemble["wrong_accepted"] <= 0.02

    def test_a_rerun_is_answered_from_the_cache(self, card, labelled, reader):
        asked = len(reader.cache)
        again = score(labelled, [reader])
        assert len(reader.cache) == asked
        assert [r["read"] for r in rows_of(again, "vllm")] == [r["read"] for r in rows_of(card, "vllm")]

    def test_unknown_model_is_named_with_what_is_there(self, reader):
        other = LlmReader("other", ServerSettings("no-such-model", f"{URL}/v1"), load_prompt("passage-small-v1"))
        (reading,) = other.read(passages_of(split_report("E1", "Left node SUV 4 (slice 8).")))
        assert "no-such-model" in reading.error
        assert reader.server.model in reading.error
