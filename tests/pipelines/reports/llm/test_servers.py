"""Several servers behind a reader, and what is asked of them when they fail."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from pipelines.reports.llm import servers
from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.prompting import load_prompt
from pipelines.reports.llm.servers import ServerSettings
from pipelines.reports.passages import passages_of
from pipelines.reports.sentences import split_report
from tests.support.paths import ROOT
from tests.support.stub_server import MODEL, Stub, serving

DEAD = "http://127.0.0.1:9/v1"


def passages(n):
    texts = (f"Left lung nodule with SUV max of {3 + i / 100:.2f} (slice {80 + i})." for i in range(n))
    return [p for text in texts for p in passages_of(split_report("E1", text))]


def reader_of(*urls, cache=None, **settings):
    defaults = {"model": MODEL, "base_url": urls, "max_retries": 1, "timeout_s": 5.0, "concurrency": 4}
    return LlmReader("llm", ServerSettings(**{**defaults, **settings}), load_prompt("passage-v1"), cache)


def errors(readings):
    return [r.error for r in readings if r.error is not None]


@contextmanager
def process(delay_s):
    """A stub in a process of its own, and its address."""
    command = [sys.executable, "-m", "tests.support.stub_server", str(delay_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as stub:
        yield stub, stub.stdout.readline().strip()
        stub.kill()


class TestSeveral:
    def test_the_least_busy_is_asked(self):
        with serving(Stub(delay_s=0.15)) as slow, serving(Stub(delay_s=0.01)) as quick:
            assert errors(reader_of(slow.url, quick.url).read(passages(40))) == []
        assert 0 < len(slow.asked) < len(quick.asked)
        assert len(slow.asked) + len(quick.asked) == 40

    def test_concurrency_is_that_of_each(self):
        with serving(Stub(delay_s=0.1)) as a, serving(Stub(delay_s=0.1)) as b:
            reader_of(a.url, b.url).read(passages(24))
        assert (a.most_in_flight, b.most_in_flight) == (4, 4)

    def test_one_that_is_down_is_left_out(self, caplog):
        with serving(Stub()) as stub:
            assert errors(reader_of(DEAD, stub.url).read(passages(20))) == []
        assert caplog.text.count("left out until it answers again") <= 4

    def test_one_that_dies_in_the_middle_loses_nothing(self, caplog):
        def kill(text, n):
            if len(stub.asked) >= 10:
                os.kill(dying.pid, signal.SIGKILL)
            return 200, None, "stop"

        with process(0.05) as (dying, url), serving(Stub(behave=kill, delay_s=0.05)) as stub:
            readings = reader_of(url, stub.url).read(passages(60))
        assert errors(readings) == []
        assert "left out until it answers again" in caplog.text

    def test_one_that_answers_again_is_asked_again(self, monkeypatch):
        monkeypatch.setattr(servers, "PROBE_EVERY_S", 0.05)
        busy = []

        def behave(text, n):
            busy.append(text)
            return 200, None, "stop"

        with serving(Stub(behave=behave, delay_s=0.05)) as back, serving(Stub(delay_s=0.05)) as other:
            # The first three questions find it silent: they run out of time.
            back.delay_s = 1.0
            reader = reader_of(back.url, other.url, timeout_s=0.4, concurrency=1)
            readings = reader.read(passages(4))
            back.delay_s = 0.05
            readings += reader.read(passages(30)[4:])
        assert errors(readings) == []
        assert len(busy) > 4

    def test_all_down_ends_with_the_reason(self):
        readings = reader_of(DEAD, "http://127.0.0.1:10/v1", max_retries=0, give_up_after=3).read(passages(30))
        assert len(errors(readings)) == 30
        assert all(r.may_be_mended and "make vllm" in r.error for r in readings)


class TestOneServer:
    def test_connections_are_kept_over_calls(self):
        with serving(Stub()) as stub:
            reader = reader_of(stub.url, concurrency=2)
            for i in range(0, 24, 6):
                reader.read(passages(24)[i : i + 6])
        assert len(stub.asked) == 24
        assert stub.connections <= 2

    @pytest.mark.parametrize("status", [400, 422])
    def test_refusals_of_every_question_end_the_run(self, status):
        with serving(Stub(behave=lambda text, n: (status, "schema not supported", "stop"))) as stub:
            readings = reader_of(stub.url, give_up_after=5).read(passages(60))
        assert len(errors(readings)) == 60
        assert len(stub.asked) <= 5 + 4

    def test_refusal_of_some_questions_ends_nothing(self):
        refused = {f"slice {80 + i})" for i in range(0, 60, 3)}

        def behave(text, n):
            return (400 if any(r in text for r in refused) else 200), None, "stop"

        with serving(Stub(behave=behave)) as stub:
            readings = reader_of(stub.url, give_up_after=5, concurrency=1).read(passages(60))
        assert len(errors(readings)) == 20


class TestCutAnswers:
    @pytest.fixture
    def cache(self, tmp_path):
        with AnswerCache(tmp_path / "answers.sqlite") as cache:
            yield cache

    def test_are_asked_once_more_with_more_room(self):
        with serving(Stub(behave=lambda text, n: (200, None, "stop" if n else "length"))) as stub:
            assert errors(reader_of(stub.url).read(passages(1))) == []
        first, second = (body["max_tokens"] for body in stub.bodies)
        assert second == 4 * first

    def test_that_are_cut_twice_are_kept_as_failed(self, cache):
        with serving(Stub(behave=lambda text, n: (200, '{"mentions": [', "length"))) as stub:
            reader = reader_of(stub.url, cache=cache)
            (reading,), (again,) = reader.read(passages(1)), reader.read(passages(1))
        assert len(stub.asked) == 2
        assert (again, reading.may_be_mended) == (reading, False)
        assert "cut off after" in reading.error

    def test_are_asked_again_with_a_higher_limit(self, cache):
        with serving(Stub(behave=lambda text, n: (200, None, "length" if n < 2 else "stop"))) as stub:
            assert errors(reader_of(stub.url, cache=cache, max_tokens=600).read(passages(1)))
            assert errors(reader_of(stub.url, cache=cache, max_tokens=6000).read(passages(1))) == []

    def test_room_grows_with_the_passage(self):
        text = "Left lung nodule with SUV max of 3.1 (slice 80). " * 6
        with serving(Stub()) as stub:
            reader_of(stub.url).read([*passages(1), *passages_of(split_report("E1", text))])
        # The two are asked side by side and may come in either order.
        short, long = (b["max_tokens"] for b in sorted(stub.bodies, key=lambda b: len(b["messages"][-1]["content"])))
        assert short < long
