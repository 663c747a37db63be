import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from pipelines.reports.llm import llm_reader
from pipelines.reports.llm.answered_mentions import problem_of
from pipelines.reports.llm.answers import AnswerCache, CacheError, answer_key
from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.prompting import PromptError, load_prompt
from pipelines.reports.llm.servers import ServerSettings
from pipelines.reports.passages import passages_of
from pipelines.reports.sentences import split_report
from tests.support.paths import ROOT
from tests.support.stub_server import MODEL, Stub, serving

N = 12


def passages(n=N):
    """Passages of one sentence each: exams of their own."""
    return [
        passages_of(split_report("E1", f"Left lung nodule with SUV max of {3 + i / 10:.1f} (slice {80 + i})."))[0]
        for i in range(1, n + 1)
    ]


def values(readings):
    return [(m.slice, m.suv) for r in readings for m in r.mentions]


def reader_of(stub, cache=None, **settings):
    defaults = {"model": MODEL, "base_url": stub.url, "max_retries": 2, "timeout_s": 5.0}
    return LlmReader("llm", ServerSettings(**{**defaults, **settings}), load_prompt("passage-v1"), cache)


@pytest.fixture
def cache(tmp_path):
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        yield cache


class TestReading:
    def test_readings_come_in_the_order_of_the_passages(self):
        with serving(Stub(delay_s=0.01)) as stub:
            readings = reader_of(stub).read(passages())
        assert [m.slice for r in readings for m in r.mentions] == [80 + i for i in range(1, N + 1)]
        assert [r.error for r in readings] == [None] * N

    def test_asks_for_json_by_schema_at_temperature_zero(self):
        with serving(Stub()) as stub:
            reader_of(stub).read(passages(1))
        (body,) = stub.bodies
        schema = body["response_format"]["json_schema"]["schema"]
        assert (body["temperature"], body["response_format"]["type"]) == (0.0, "json_schema")
        assert schema["required"] == ["mentions"]

    def test_what_all_questions_share_stands_before_what_differs(self):
        """A server with prefix caching computes instructions and examples once."""
        with serving(Stub()) as stub:
            reader_of(stub).read(passages(2))
        a, b = ([m["content"] for m in body["messages"]] for body in stub.bodies)
        assert a[:-1] == b[:-1]
        assert a[-1] != b[-1]

    def test_questions_are_in_flight_together_but_bounded(self):
        with serving(Stub(delay_s=0.1)) as stub:
            reader_of(stub, concurrency=4).read(passages())
        assert stub.most_in_flight == 4

    def test_equal_passages_are_asked_once(self):
        two = [*passages(1), *passages_of(split_report("E2", passages(1)[0].sentences[0].sentence))]
        with serving(Stub()) as stub:
            readings = reader_of(stub).read(two)
        assert len(stub.asked) == 1
        assert [r.passage_id for r in readings] == [p.passage_id for p in two]

    def test_passage_of_several_lesions_is_one_question(self):
        report = "Right node with SUV 4.2 (slice 88). Left node with SUV 5.1 (slice 40)."
        with serving(Stub()) as stub:
            readings = reader_of(stub).read(passages_of(split_report("E1", report)))
        assert values(readings) == [(88, 4.2), (40, 5.1)]
        assert len(stub.asked) == 1

    def test_progress_is_told_and_logged(self, caplog):
        seen = []
        with serving(Stub()) as stub, caplog.at_level(logging.INFO):
            reader_of(stub).read(passages(), lambda done, total: seen.append((done, total)))
        assert seen[-1] == (N, N)
        assert "12 of 12 questions" in caplog.text

    def test_runs_inside_a_running_event_loop(self):
        import asyncio

        async def inside():
            with serving(Stub()) as stub:
                return reader_of(stub).read(passages(1))

        assert asyncio.run(inside())[0].error is None

    def test_nothing_to_read(self):
        assert reader_of(Stub(url="http://127.0.0.1:9/v1")).read([]) == []

    def test_zero_counts_as_none(self):
        answer = json.dumps(
            {"mentions": [{"sentences": [1], "role": "lesion", "exam": "current", "slice": 0, "suv": 0}]}
        )
        with serving(Stub(behave=lambda text, n: (200, answer, "stop"))) as stub:
            readings = reader_of(stub).read(passages(1))
        assert values(readings) == [(None, None)]


class TestFaults:
    def test_server_down_names_exam_server_and_remedy_and_ends(self):
        readings = reader_of(Stub(url="http://127.0.0.1:9/v1"), max_retries=1, give_up_after=2).read(passages(90))
        assert len(readings) == 90
        assert all("exam E1" in r.error and "127.0.0.1:9" in r.error and "make vllm" in r.error for r in readings)

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_what_can_pass_is_retried(self, status):
        with serving(Stub(behave=lambda text, n: (status, None, "stop") if n == 0 else (200, None, "stop"))) as stub:
            readings = reader_of(stub).read(passages())
        assert [r.error for r in readings] == [None] * N
        assert len(stub.asked) == 2 * N

    def test_lasting_500_fails_that_sentence_alone(self):
        with serving(Stub(behave=lambda text, n: (500 if "slice 83" in text else 200, None, "stop"))) as stub:
            readings = reader_of(stub).read(passages())
        assert [i for i, r in enumerate(readings) if r.error] == [2]
        assert "answered 500" in readings[2].error
        assert "tried 3 times" in readings[2].error

    def test_400_is_not_retried(self):
        with serving(Stub(behave=lambda text, n: (400, "schema not supported", "stop"))) as stub:
            readings = reader_of(stub).read(passages(2))
        assert all("schema not supported" in r.error for r in readings)
        assert len(stub.asked) == 2

    def test_timeout(self):
        with serving(Stub(delay_s=0.6)) as stub:
            (reading,) = reader_of(stub, timeout_s=0.1, max_retries=1).read(passages(1))
        assert "within 0.1 s" in reading.error

    def test_unknown_model_is_asked_for_once_and_names_what_is_there(self):
        with serving(Stub()) as stub:
            readings = reader_of(stub, model="other", concurrency=1).read(passages())
        assert all("'other' is not there, the server has stub" in r.error for r in readings)
        assert len(stub.asked) == 1

    @pytest.mark.parametrize(
        ("content", "finish", "words"),
        [
            ("I think the slice is 8.", "stop", "expected JSON"),
            ("", "stop", "expected JSON"),
            ("[1]", "stop", "JSON object"),
            ('{"slice": 8}', "stop", "expected mentions"),
            ('{"mentions": [{"role": "lesion", "exam": "current"}]}', "stop", "numbers of sentences"),
            ('{"mentions": [{"sentences": [1], "role": "tumour", "exam": "current"}]}', "stop", "expected role"),
            ('{"mentions": [{"sentences": [1], "role": "lesion", "exam": "current", "suv": "8"}]}', "stop", "a number"),
        ],
        ids=["prose", "empty", "list", "missing", "no sentence", "no role", "string"],
    )
    def test_answer_that_cannot_be_used_is_an_error_with_what_was_said(self, cache, content, finish, words):
        with serving(Stub(behave=lambda text, n: (200, content, finish))) as stub:
            (reading,) = reader_of(stub, cache).read(passages(1))
            (again,) = reader_of(stub, cache).read(passages(1))
        assert words in reading.error
        assert (reading.answer, reading.mentions, reading.may_be_mended) == (content, (), False)
        # The model would say the same again.
        assert (again, len(stub.asked)) == (reading, 1)

    def test_rerun_mends_what_failed_and_asks_nothing_else(self, cache):
        broken = Stub(behave=lambda text, n: (400 if "slice 83" in text else 200, None, "stop"))
        with serving(broken):
            first = reader_of(broken, cache).read(passages())
        with serving(Stub()) as stub:
            second = reader_of(stub, cache).read(passages())
        assert sum(r.error is not None for r in first) == 1
        assert [r.error for r in second] == [None] * N
        assert len(stub.asked) == 1


class TestCache:
    def test_nothing_is_asked_twice(self, cache):
        with serving(Stub()) as stub:
            first = reader_of(stub, cache).read(passages())
            second = reader_of(stub, cache).read(passages())
        assert len(stub.asked) == N
        assert first == second

    def test_new_prompt_version_asks_again(self, cache, tmp_path):
        source = load_prompt("passage-v1")
        path = tmp_path / "mine.toml"
        path.write_text(f"instructions = 'Read.'\nschema = '''{json.dumps(dict(source.schema))}'''\n")
        with serving(Stub()) as stub:
            before = reader_of(stub, cache)
            after = LlmReader("llm", before.server, load_prompt(str(path)), cache)
            before.read(passages())
            after.read(passages())
        assert len(stub.asked) == 2 * N
        assert before.version != after.version

    def test_changed_code_reads_kept_answers_anew_and_asks_nothing(self, cache, monkeypatch):
        with serving(Stub()) as stub:
            reader_of(stub, cache).read(passages())
            monkeypatch.setattr(llm_reader, "problem_of", lambda answer: "refused by newer code")
            refused = reader_of(stub, cache).read(passages())
            monkeypatch.undo()
            monkeypatch.setattr(llm_reader, "code_version", lambda module: "newer")
            newer = reader_of(stub, cache)
            read = newer.read(passages())
        assert len(stub.asked) == N
        assert ["refused by newer code" in r.error and r.answer is not None for r in refused] == [True] * N
        assert [m.slice for r in read for m in r.mentions] == [80 + i for i in range(1, N + 1)]
        assert {r.reader_version for r in read} == {newer.version}

    def test_other_sampling_asks_again(self, cache):
        with serving(Stub()) as stub:
            greedy, sampled = reader_of(stub, cache), reader_of(stub, cache, extra={"temperature": 0.7})
            for reader in (greedy, sampled, reader_of(stub, cache, max_tokens=320)):
                reader.read(passages())
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
            readings = reader_of(stub, cache).read(passages(3))
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
        asked = passages(60)
        script = (
            "import sys\n"
            "from pathlib import Path\n"
            "import tests.pipelines.reports.llm.test_llm_reader as t\n"
            "stub = t.Stub(url=sys.argv[1])\n"
            "t.reader_of(stub, t.AnswerCache(Path(sys.argv[2])), concurrency=2).read(t.passages(60))\n"
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
                readings = reader_of(rest, cache).read(asked)
        assert 0 < kept < 60
        assert len(rest.asked) == 60 - kept
        assert [r.error for r in readings] == [None] * 60


class TestPrompt:
    def test_the_examples_are_answers_that_the_reader_accepts(self):
        prompt = load_prompt("passage-v1")
        assert [problem_of(answer) for _, answer in prompt.examples] == [None] * len(prompt.examples)

    def test_chat_alternates_and_ends_with_the_passage(self):
        prompt = load_prompt("passage-v1")
        messages = prompt.messages("1. Left node.")
        assert [m["role"] for m in messages] == ["user", "assistant"] * len(prompt.examples) + ["user"]
        assert messages[-1]["content"] == "1. Left node."

    def test_unknown_prompt_names_those_that_are_there(self):
        with pytest.raises(PromptError, match="passage-v1"):
            load_prompt("none")
