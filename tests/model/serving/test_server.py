import base64
import http.client
import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import openai
import pytest
import torch
from openai.types.chat import ChatCompletion

from model.petar.checkpoints import Contract, build_model, load_checkpoint, save_checkpoint
from model.serving.generation import describe
from model.serving.server import MAX_BODY_BYTES, RequestError, Service, make_server
from pipelines.imaging.volume import load_nifti


@pytest.fixture
def checkpoint(micro, tokenizer, tmp_path):
    torch.manual_seed(3)
    save_checkpoint(tmp_path / "checkpoint", build_model(micro, tokenizer), tokenizer, Contract(micro))
    return load_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def server(checkpoint, lake):
    """Port of a running server."""
    running, bound = make_server(Service(checkpoint, "petar", lake.home.root), "127.0.0.1", 0)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    yield bound.getsockname()[1]
    running.should_exit = True
    thread.join(timeout=10)
    bound.close()


PATHS = {
    "pet": {"path": "volumes/E0/SUV.nii"},
    "ct": {"path": "volumes/E0/CT.nii"},
    "mask": {"path": "masks/E0/1.nii.gz"},
}
MESSAGES = [{"role": "user", "content": "Which structure is highlighted?"}]


def post(server, body, path="/v1/chat/completions", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=30)
    connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), headers or {})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


class TestChat:
    def expected(self, lake, checkpoint):
        files = {name: load_nifti(lake.home.root / given["path"]) for name, given in PATHS.items()}
        question = MESSAGES[0]["content"]
        return describe(files["pet"], files["ct"], files["mask"], checkpoint, question=question, max_new_tokens=8)

    def client(self, server):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{server}/v1", api_key="none", max_retries=0)

    def test_openai_client_gets_what_describe_says(self, server, lake, checkpoint):
        answer = self.client(server).chat.completions.create(
            model="petar", messages=MESSAGES, max_tokens=8, extra_body=PATHS
        )
        said = self.expected(lake, checkpoint)
        assert answer.choices[0].message.content == said.text_measured
        assert answer.model_extra["petar"]["measured"]["suvmax"] == said.measured.suvmax == 7.0

    def test_example_of_the_client_prints_it(self, server, lake, checkpoint):
        example = Path(__file__).parents[3] / "examples" / "describe_with_openai.py"
        pet, ct, mask = (PATHS[name]["path"] for name in ("pet", "ct", "mask"))
        address = f"http://127.0.0.1:{server}/v1"
        done = subprocess.run(
            [sys.executable, example, pet, mask, "--ct", ct, "--url", address],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "'suvmax': 7.0" in done.stdout

    def test_upload_gives_the_same(self, server, lake, checkpoint):
        data = {
            n: {"data": base64.b64encode((lake.home.root / g["path"]).read_bytes()).decode()} for n, g in PATHS.items()
        }
        status, body = post(server, {"messages": MESSAGES, "max_tokens": 8, **data})
        assert status == 200
        assert body["petar"]["text"] == self.expected(lake, checkpoint).text

    def test_a_form_of_files_gives_the_same(self, server, lake, checkpoint):
        files = [(n, (Path(g["path"]).name, (lake.home.root / g["path"]).read_bytes())) for n, g in PATHS.items()]
        answer = self.client(server).post(
            "/chat/completions",
            cast_to=ChatCompletion,
            body={"model": "petar", "messages": json.dumps(MESSAGES), "max_tokens": 8},
            files=files,
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )
        said = self.expected(lake, checkpoint)
        assert answer.choices[0].message.content == said.text_measured
        assert answer.model_extra["petar"]["text"] == said.text

    def test_a_form_of_paths_asks_the_papers_question(self, server, lake, checkpoint):
        form = {name: (None, given["path"]) for name, given in PATHS.items()} | {"max_tokens": (None, "8")}
        url = f"http://127.0.0.1:{server}/v1/chat/completions"
        body = httpx2.post(url, files=form, timeout=60).json()
        files = {name: load_nifti(lake.home.root / given["path"]) for name, given in PATHS.items()}
        said = describe(files["pet"], files["ct"], files["mask"], checkpoint, max_new_tokens=8)
        assert body["petar"]["text"] == said.text

    @pytest.mark.parametrize(
        ("body", "kind", "words"),
        [
            (b'--x\r\nContent-Disposition: form-data; name="pet"', "multipart/form-data; boundary=x", "cut short"),
            (b"", "multipart/form-data; boundary=x", "cut short"),
            (b"--x--", "multipart/form-data", "boundary"),
            (
                b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n",
                "multipart/form-data; boundary=x",
                "name",
            ),
            (b"--x\r\nno headers--x\r\n--x--\r\n", "multipart/form-data; boundary=x", ""),
        ],
    )
    def test_a_body_that_is_no_form_is_told(self, server, body, kind, words):
        status, answer = post(server, body, headers={"Content-Type": kind})
        assert status == 400
        assert words in answer["error"]["message"]

    def test_a_body_that_is_too_long_is_refused_unread(self, server):
        status, answer = post(server, b"", headers={"Content-Length": str(MAX_BODY_BYTES + 1)})
        assert status == 413
        assert "give paths" in answer["error"]["message"]

    def test_an_unknown_address_is_told(self, server):
        status, answer = post(server, {}, "/v1/completions")
        assert status == 404
        assert "POST /v1/chat/completions" in answer["error"]["message"]

    def test_an_error_of_our_own_tells_nothing_of_the_inside(self, server, monkeypatch):
        monkeypatch.setattr("model.serving.server.ask", lambda *a, **k: 1 / 0)
        status, answer = post(server, {"messages": MESSAGES, **PATHS})
        assert (status, answer["error"]["type"]) == (500, "server_error")
        assert "division" not in answer["error"]["message"]

    def test_streams(self, server, lake, checkpoint):
        stream = self.client(server).chat.completions.create(
            model="petar", messages=MESSAGES, max_tokens=8, extra_body=PATHS, stream=True
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text == self.expected(lake, checkpoint).text_measured

    def test_an_answer_that_is_cut_off_says_length(self, server, lake, checkpoint):
        status, body = post(server, {"messages": MESSAGES, "max_tokens": 2, **PATHS})
        assert status == 200
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 2

    def test_warns_of_a_question_that_was_not_trained_and_of_no_ct(self, server, checkpoint):
        paths = {name: given for name, given in PATHS.items() if name != "ct"}
        _, body = post(server, {"messages": MESSAGES, "max_tokens": 2, **paths})
        assert [words.split(":")[0] for words in body["petar"]["warnings"]] == [
            "no CT",
            "the model was not trained on this question and may not answer it; it knows",
        ]
        trained = [{"role": "user", "content": checkpoint.contract.questions[0]}]
        assert post(server, {"messages": trained, "max_tokens": 2, **PATHS})[1]["petar"]["warnings"] == []

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"temperature": 0.7}, "expected temperature 0"),
            ({"n": 2}, "expected n 1"),
            ({"tools": [{"type": "function"}]}, "expected tools []"),
            ({"logprobs": True}, "expected logprobs False"),
            ({"response_format": {"type": "json_object"}}, "expected response_format"),
            ({"stop": ["."]}, "expected stop []"),
            ({"top_k": 5}, "got 'top_k'"),
            ({"messages": [{"role": "user", "content": "left lung " * 90}]}, "128 tokens of prompt and answer"),
            ({"max_tokens": 127}, "128 tokens of prompt and answer"),
        ],
    )
    def test_what_is_not_supported_or_too_long_is_refused(self, server, change, words):
        status, body = post(server, {"messages": MESSAGES, "max_tokens": 2, **PATHS, **change})
        assert (status, words in body["error"]["message"]) == (400, True), body

    def test_takes_what_asks_for_what_is_done_anyway(self, server):
        harmless = {"temperature": 0, "n": 1, "top_p": 1.0, "stop": None, "seed": 3, "logprobs": False}
        assert post(server, {"messages": MESSAGES, "max_tokens": 2, **PATHS, **harmless})[0] == 200

    def test_says_which_questions_the_model_knows(self, server, checkpoint):
        with httpx2.Client() as client:
            (model,) = client.get(f"http://127.0.0.1:{server}/v1/models").json()["data"]
        assert model["questions"] == list(checkpoint.contract.questions)
        assert model["max_model_len"] == 128

    def test_a_busy_server_says_so_in_time(self, checkpoint, lake):
        service = Service(checkpoint, "petar", lake.home.root, timeout_s=0.0)
        with pytest.raises(RequestError, match="ask again later") as told:
            service.chat({"messages": MESSAGES, **PATHS})
        assert told.value.status == 504

    def test_names_its_model(self, server):
        assert [m.id for m in self.client(server).models.list()] == ["petar"]

    @pytest.mark.parametrize(
        ("change", "status", "words"),
        [
            ({"mask": None}, 400, "mask"),
            ({"messages": []}, 400, "messages"),
            ({"model": "gpt"}, 404, "expected model 'petar'"),
            ({"pet": {"path": "../../../etc/passwd"}}, 403, "below"),
            ({"pet": {"path": "volumes/none.nii"}}, 404, "pet:"),
            ({"pet": {"data": "%%%"}}, 400, "base64"),
            ({"pet": {"data": base64.b64encode(b"no image").decode()}}, 400, "pet:"),
            ({"max_tokens": 0.5}, 400, "max_tokens"),
        ],
    )
    def test_bad_request_is_told_in_openais_form(self, server, change, status, words):
        got, body = post(server, {"messages": MESSAGES, **PATHS, **change})
        assert got == status
        assert words in body["error"]["message"]

    def test_no_json_is_told_and_the_server_goes_on(self, server):
        assert post(server, b"{")[0] == 400
        assert post(server, {"messages": MESSAGES, "max_tokens": 2, **PATHS})[0] == 200

    def test_paths_are_refused_without_a_folder(self, checkpoint):
        service = Service(checkpoint, "petar")
        with pytest.raises(ValueError, match="--files"):
            service.chat({"messages": MESSAGES, **PATHS})
