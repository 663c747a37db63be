import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from pipelines.reports.llm import llm_reader
from pipelines.reports.llm.answers import AnswerCache, CacheError, answer_key
from pipelines.reports.llm.chat import ServerSettings
from pipelines.reports.llm.llm_reader import LlmReader, problem_of
from pipelines.reports.llm.prompting import PromptError, load_prompt
from pipelines.reports.sentences import split_report
from tests.support.paths import ROOT
from tests.support.stub_server import MODEL, Stub, serving

N = 12


def sentences_of(n=N):
    report = "\n".join(
        f"{i}. Left lung nodule with SUV max of {3 + i / 10:.1f} (slice {80 + i})." for i in range(1, n + 1)
    )
    return split_report("E1", report)


def reader_of(stub, cache=None, **settings):
    defaults = {"model": MODEL, "base_url": stub.url, "backoff_s": 0.01, "max_retries": 2, "timeout_s": 5.0}
    return LlmReader("llm", ServerSettings(**{**defaults, **settings}), load_prompt("finding-v1"), cache)


@pytest.fixture
def cache(tmp_path):
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        yield cache


class TestReading:
    def test_values_come_in_the_order_of_the_sentences(self):
        with serving(Stub(delay_s=0.01)) as stub:
            readings = reader_of(stub).read(sentences_of())
        assert [r.slice for r in readings] == [80 + i for i in range(1, N + 1)]
        assert [r.error for r in readings] == [None] * N

    def test_asks_for_json_by_schema_at_temperature_zero(self):
        with serving(Stub()) as stub:
            reader_of(stub).read(sentences_of(1))
        (body,) = stub.bodies
        schema = body["response_format"]["json_schema"]["schema"]
        assert (body["temperature"], body["response_format"]["type"]) == (0.0, "json_schema")
        assert set(schema["required"]) == {"slice", "suvmax", "n_lesions", "is_current"}

    def test_questions_are_in_flight_together_but_bounded(self):
        with serving(Stub(delay_s=0.1)) as stub:
            reader_of(stub, concurrency=4).read(sentences_of())
        assert stub.most_in_flight == 4

    def test_equal_sentences_are_asked_once(self):
        sentences = split_report("E1", "Left node SUV 4 (slice 8).\nLeft node SUV 4 (slice 8).")
        with serving(Stub()) as stub:
            readings = reader_of(stub).read(sentences)
        assert len(stub.asked) == 1
        assert [r.sentence_id for r in readings] == [s.sentence_id for s in sentences]

    def test_sentence_of_two_lesions_is_asked_by_its_parts(self):
        sentences = split_report("E1", "Right node with SUV 4.2 (slice 88) and left node with SUV 5.1 (slice 40).")
        with serving(Stub()) as stub:
            (reading,) = reader_of(stub).read(sentences)
        assert reading.pairs == ((88, 4.2), (40, 5.1))
        assert reading.n_lesions == 2
        assert len(stub.asked) == 2

    def test_progress_is_told_and_logged(self, caplog):
        seen = []
        with serving(Stub()) as stub, caplog.at_level(logging.INFO):
            reader_of(stub).read(sentences_of(), lambda done, total: seen.append((done, total)))
        assert seen[-1] == (N, N)
        assert "12 of 12 sentences" in caplog.text

    def test_runs_inside_a_running_event_loop(self):
        import asyncio

        async def inside():
            with serving(Stub()) as stub:
                return reader_of(stub).read(sentences_of(1))

        assert asyncio.run(inside())[0].error is None

    def test_nothing_to_read(self):
        assert reader_of(Stub(url="http://127.0.0.1:9/v1")).read([]) == []

    def test_zero_counts_as_none(self):
        answer = json.dumps({"slice": 0, "suvmax": 0, "n_lesions": 1, "is_current": True})
        with serving(Stub(behave=lambda text, n: (200, answer, "stop"))) as stub:
            (reading,) = reader_of(stub).read(sentences_of(1))
        assert (reading.slice, reading.suvmax) == (None, None)


class TestFaults:
    def test_server_down_names_exam_server_and_remedy_and_ends(self):
        readings = reader_of(Stub(url="http://127.0.0.1:9/v1"), max_retries=1, give_up_after=2).read(sentences_of(90))
        assert len(readings) == 90
        assert all("exam E1" in r.error and "127.0.0.1:9" in r.error and "make vllm" in r.error for r in readings)

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_what_can_pass_is_retried(self, status):
        with serving(Stub(behave=lambda text, n: (status, None, "stop") if n == 0 else (200, None, "stop"))) as stub:
            readings = reader_of(stub).read(sentences_of())
        assert [r.error for r in readings] == [None] * N
        assert len(stub.asked) == 2 * N

    def test_lasting_500_fails_that_sentence_alone(self):
        with serving(Stub(behave=lambda text, n: (500 if "slice 83" in text else 200, None, "stop"))) as stub:
            readings = reader_of(stub).read(sentences_of())
        assert [i for i, r in enumerate(readings) if r.error] == [2]
        assert "answered 500" in readings[2].error
        assert "tried 3 times" in readings[2].error

    def test_400_is_not_retried(self):
        with serving(Stub(behave=lambda text, n: (400, "schema not supported", "stop"))) as stub:
            readings = reader_of(stub).read(sentences_of(2))
        assert all("schema not supported" in r.error for r in readings)
        assert len(stub.asked) == 2

    def test_timeout(self):
        with serving(Stub(delay_s=0.6)) as stub:
            (reading,) = reader_of(stub, timeout_s=0.1, max_retries=1).read(sentences_of(1))
        assert "within 0.1 s" in reading.error

    def test_unknown_model_is_asked_for_once_and_names_what_is_there(self):
        with serving(Stub()) as stub:
            readings = reader_of(stub, model="other", concurrency=1).read(sentences_of())
        assert all("'other' is not there, the server has stub" in r.error for r in readings)
        assert len(stub.asked) == 1

    @pytest.mark.parametrize(
        ("content", "finish", "words"),
        [
            ('{"slice": 8', "length", "cut off"),
            ("I think the slice is 8.", "stop", "expected JSON"),
            ("", "stop", "expected JSON"),
            ("[1]", "stop", "JSON object"),
            ('{"slice": 8}', "stop", "expected suvmax"),
            ('{"slice": "8", "suvmax": 4, "n_lesions": 1, "is_current": true}', "stop", "expected numbers"),
        ],
        ids=["truncated", "prose", "empty", "list", "missing", "string"],
    )
    def test_answer_that_cannot_be_used_is_an_error_with_what_was_said(self, cache, content, finish, words):
        with serving(Stub(behave=lambda text, n: (200, content, finish))) as stub:
            (reading,) = reader_of(stub, cache).read(sentences_of(1))
        assert words in reading.error
        assert reading.answer == content
        assert (reading.slice, reading.suvmax, len(cache)) == (None, None, 0)

    def test_rerun_mends_what_failed_and_asks_nothing_else(self, cache):
        broken = Stub(behave=lambda text, n: (400 if "slice 83" in text else 200, None, "stop"))
        with serving(broken):
            first = reader_of(broken, cache).read(sentences_of())
        with serving(Stub()) as stub:
            second = reader_of(stub, cache).read(sentences_of())
        assert sum(r.error is not None for r in first) == 1
        assert [r.error for r in second] == [None] * N
        assert len(stub.asked) == 1


class TestCache:
    def test_nothing_is_asked_twice(self, cache):
        with serving(Stub()) as stub:
            first = reader_of(stub, cache).read(sentences_of())
            second = reader_of(stub, cache).read(sentences_of())
        assert len(stub.asked) == N
        assert first == second

    def test_new_prompt_version_asks_again(self, cache, tmp_path):
        source = load_prompt("finding-v1")
        path = tmp_path / "mine.toml"
        path.write_text(f"instructions = 'Read.'\nschema = '''{json.dumps(dict(source.schema))}'''\n")
        with serving(Stub()) as stub:
            before = reader_of(stub, cache)
            after = LlmReader("llm", before.server, load_prompt(str(path)), cache)
            before.read(sentences_of())
            after.read(sentences_of())
        assert len(stub.asked) == 2 * N
        assert before.version != after.version

    def test_changed_code_reads_kept_answers_anew_and_asks_nothing(self, cache, monkeypatch):
        with serving(Stub()) as stub:
            reader_of(stub, cache).read(sentences_of())
            monkeypatch.setattr(llm_reader, "problem_of", lambda answer: "refused by newer code")
            refused = reader_of(stub, cache).read(sentences_of())
            monkeypatch.undo()
            monkeypatch.setattr(llm_reader, "code_version", lambda module: "newer")
            newer = reader_of(stub, cache)
            read = newer.read(sentences_of())
        assert len(stub.asked) == N
        assert ["refused by newer code" in r.error and r.answer is not None for r in refused] == [True] * N
        assert [(r.slice, r.reader_version) for r in read] == [(80 + i, newer.version) for i in range(1, N + 1)]

    def test_other_sampling_asks_again(self, cache):
        with serving(Stub()) as stub:
            greedy, sampled = reader_of(stub, cache), reader_of(stub, cache, extra={"temperature": 0.7})
            for reader in (greedy, sampled, reader_of(stub, cache, max_tokens=320)):
                reader.read(sentences_of())
        assert [body["temperature"] for body in stub.bodies] == [0.0] * N + [0.7] * N
        assert greedy.version != sampled.version

    @pytest.mark.parametrize("part", range(5))
    def test_every_part_of_the_question_is_in_the_key(self, part):
        question = ["model", "prompt", "schema", "sampling", "text"]
        other = [q + "!" if i == part else q for i, q in enumerate(question)]
        assert answer_key(*question) != answer_key(*other)

    def test_two_processes_may_write(self, tmp_path):
        a, b = AnswerCache(tmp_path / "a.sqlite"), AnswerCache(tmp_path / "a.sqlite")
        for i in range(20):
            (a if i % 2 else b).put(f"k{i}", "m", "p", "t", str(i))
        assert a.get([f"k{i}" for i in range(20)]) == {f"k{i}": str(i) for i in range(20)}
        a.close()
        b.close()

    def test_full_disk_loses_no_answer(self, cache, monkeypatch, caplog):
        def fail(*args):
            raise CacheError("no space left")

        monkeypatch.setattr(cache, "put", fail)
        with serving(Stub()) as stub:
            readings = reader_of(stub, cache).read(sentences_of(3))
        assert [r.error for r in readings] == [None] * 3
        assert "no space left" in caplog.text

    def test_file_of_another_kind_is_refused_with_its_name(self, tmp_path):
        path = tmp_path / "answers.sqlite"
        path.write_bytes(b"not a database at all, " * 100)
        with pytest.raises(CacheError, match=r"answers\.sqlite"):
            AnswerCache(path)

    def test_kill_in_the_middle_loses_nothing_that_was_answered(self, tmp_path):
        """A run is killed with SIGKILL after some answers; the rerun asks only for the rest."""
        path = tmp_path / "answers.sqlite"
        sentences = sentences_of(60)
        script = (
            "import sys\n"
            "from pathlib import Path\n"
            "import tests.pipelines.reports.llm.test_llm_reader as t\n"
            "stub = t.Stub(url=sys.argv[1])\n"
            "t.reader_of(stub, t.AnswerCache(Path(sys.argv[2])), concurrency=2).read(t.sentences_of(60))\n"
        )
        with serving(Stub(delay_s=0.1)) as stub:
            process = subprocess.Popen([sys.executable, "-c", script, stub.url, str(path)], cwd=ROOT)
            deadline = time.monotonic() + 60
            while len(stub.asked) < 10 and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL
        with AnswerCache(path) as cache:
            kept = len(cache)
            with serving(Stub()) as rest:
                readings = reader_of(rest, cache).read(sentences)
        assert 0 < kept < 60
        assert len(rest.asked) == 60 - kept
        assert [r.error for r in readings] == [None] * 60


class TestPrompt:
    @pytest.mark.parametrize("name", ["finding-v1", "fields-v1"])
    def test_examples_have_the_keys_of_the_schema(self, name):
        prompt = load_prompt(name)
        assert prompt.examples
        for _, answer in prompt.examples:
            assert set(json.loads(answer)) == set(prompt.schema["required"])

    def test_the_examples_of_the_reader_are_answers_that_it_accepts(self):
        assert [problem_of(answer) for _, answer in load_prompt("finding-v1").examples] == [None] * 6

    def test_chat_alternates_and_ends_with_the_sentence(self):
        messages = load_prompt("finding-v1").messages("Left node.")
        assert [m["role"] for m in messages] == ["user", "assistant"] * 6 + ["user"]
        assert messages[-1]["content"] == "Left node."

    def test_unknown_prompt_names_those_that_are_there(self):
        with pytest.raises(PromptError, match="finding-v1"):
            load_prompt("none")
