import base64
import io
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest
import torch

from model.inputs.tensors import LesionDataset, SampleError
from model.petar.checkpoints import Checkpoint, Contract, LoadReport, build_model
from model.serving.engines import Ask, EngineError, OwnEngine, VllmEngine


@pytest.fixture
def checkpoint(micro, tokenizer, tmp_path):
    torch.manual_seed(3)
    return Checkpoint(build_model(micro, tokenizer), tokenizer, Contract(micro), LoadReport((), (), (), ()), tmp_path)


@pytest.fixture
def items(checkpoint, lake, micro):
    questions = ["Where?", "What is it and on which side?", "Where?"]
    samples = lake.samples.head(3).with_columns(pl.Series("question", questions))
    data = LesionDataset(samples, micro, checkpoint.tokenizer, lake.home, answers=False)
    return [data[i] for i in range(3)]


class _Counted:
    """Counts the rows that a method of the model gets."""

    def __init__(self, monkeypatch, model, name):
        self.rows, whole = [], getattr(model, name)

        def counted(first, *others, **named):
            self.rows.append(len(first))
            return whole(first, *others, **named)

        monkeypatch.setattr(model, name, counted)


class TestOwnEngine:
    def test_questions_of_one_lesion_share_its_visual_tokens(self, checkpoint, items, monkeypatch):
        seen = _Counted(monkeypatch, checkpoint.model, "visual_tokens")
        other = replace(items[0], encoded=items[1].encoded)
        engine = OwnEngine(checkpoint)
        engine.answers([Ask(items[0], 4, "E0"), Ask(other, 4, "E0"), Ask(items[2], 4, "E2")])
        engine.answers([Ask(other, 4, "E0")])
        assert seen.rows == [2]

    def test_equal_questions_of_a_batch_are_answered_once_each_to_its_length(self, checkpoint, items, monkeypatch):
        seen = _Counted(monkeypatch, checkpoint.model, "decode")
        short, long = OwnEngine(checkpoint).answers([Ask(items[0], 2, "E0"), Ask(items[0], 6, "E0")])
        assert seen.rows == [1]
        assert (short.n_tokens, short.is_whole) == (2, False)
        assert long == OwnEngine(checkpoint).answers([Ask(items[0], 6)])[0]

    def test_lesions_without_a_key_are_told_apart(self, checkpoint, items):
        same_words = [replace(item, encoded=items[0].encoded) for item in items]
        engine = OwnEngine(checkpoint)
        together = engine.answers([Ask(item, 6) for item in same_words])
        assert together == [engine.answers([Ask(item, 6)])[0] for item in same_words]

    def test_a_long_prompt_beside_it_leaves_a_question_its_room(self, checkpoint, items):
        long = replace(items[0].encoded, prompt=[*items[0].encoded.prompt, *[5] * (126 - len(items[0].encoded.prompt))])
        engine = OwnEngine(checkpoint)
        cut, whole = engine.answers([Ask(replace(items[0], encoded=long), 8), Ask(items[1], 8)])
        assert cut.n_tokens <= 2
        assert whole == engine.answers([Ask(items[1], 8)])[0]

    def test_a_prompt_without_room_is_refused(self, checkpoint, items):
        long = replace(items[0].encoded, prompt=[*items[0].encoded.prompt, *[5] * 128])
        with pytest.raises(SampleError, match="under the model's 128 tokens"):
            OwnEngine(checkpoint).answers([Ask(replace(items[0], encoded=long), 4)])


@pytest.fixture
def vllm(checkpoint):
    """What a vLLM server does with embeddings, by the checkpoint's own language model."""
    model, asked = checkpoint.model, []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            if body["model"] != "language":
                return self._send(404, {"error": {"message": "no such model"}})
            prompt = torch.load(io.BytesIO(base64.b64decode(body["prompt_embeds"])), weights_only=True)[None]
            ends = {"eos_id": checkpoint.tokenizer.eos_id, "pad_id": checkpoint.tokenizer.pad_id}
            mask = torch.ones(prompt.shape[:2], dtype=torch.long)
            tokens = model.decode(prompt, mask, max_new_tokens=body["max_tokens"], **ends)[0]
            return self._send(200, {"choices": [{"token_ids": tokens.tolist()}]})

        def _send(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


class TestVllmEngine:
    def test_sends_embeddings_and_says_what_the_model_says(self, checkpoint, items, vllm):
        url, asked = vllm
        questions = [Ask(items[0], 3, "E0"), Ask(items[1], 8, "E1"), Ask(items[0], 8, "E0")]
        answers = VllmEngine(checkpoint, url, "language").answers(questions)
        assert answers == OwnEngine(checkpoint).answers(questions)
        assert sorted(body["max_tokens"] for body in asked) == [8, 8]
        assert all(body["temperature"] == 0 and "prompt" not in body for body in asked)

    def test_what_the_server_refuses_is_told(self, checkpoint, items, vllm):
        with pytest.raises(EngineError, match=r"answered 404 \(no such model\): start it with --enable-prompt-embeds"):
            VllmEngine(checkpoint, vllm[0], "other").answers([Ask(items[0], 4)])

    def test_a_server_that_is_not_there_is_told(self, checkpoint, items, vllm):
        engine = VllmEngine(checkpoint, "http://127.0.0.1:9", "language", timeout_s=5)
        with pytest.raises(EngineError, match="expected an answer of the vLLM server"):
            engine.answers([Ask(items[0], 4)])
