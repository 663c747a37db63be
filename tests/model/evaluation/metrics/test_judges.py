"""GREEN and RaTEScore: parsing, requests against a server on loopback, a package in another interpreter, and every
failure.
"""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from model.evaluation.metrics.judges import Judgement, green, green_prompt, has_sections, ratescore, read_judgement
from model.evaluation.metrics.pairs import Pairs
from model.evaluation.metrics.settings import NotComputableError
from pipelines.settings import ScoreSettings

PAIRS = Pairs(["avid node", "nonsense"], ["avid node {left}", "liver lesion"], ["a", "b"])
ANSWER = """[Explanation]: They differ in side.

[Clinically Significant Errors]:
(a) False report of a finding: 1. A rib lesion.
(c) Wrong place: 2. Right for left; lung for pleura.

[Clinically Insignificant Errors]:
(d) Severity: 1. Mild for moderate.

[Matched Findings]:
3. Node, nodule, effusion.
"""


class TestReadJudgement:
    def test_counts_of_every_kind(self) -> None:
        judgement = read_judgement(ANSWER)
        assert judgement == Judgement(3, (1, 0, 2, 0, 0, 0))
        assert judgement.score == pytest.approx(0.5)

    def test_no_errors_at_all(self) -> None:
        answer = "[Clinically Significant Errors]:\nNone.\n\n[Matched Findings]:\n2. Node; nodule."
        assert read_judgement(answer) == Judgement(2, (0,) * 6)

    def test_nothing_matched_scores_zero(self) -> None:
        answer = "[Clinically Significant Errors]:\n(b) Missing: 1. Node.\n[Matched Findings]:\nNone."
        judgement = read_judgement(answer)
        assert judgement is not None
        assert judgement.score == 0

    @pytest.mark.parametrize(
        "answer",
        ["", "I cannot help with that.", ANSWER.split("[Matched")[0], "[Matched Findings]:\n3.", ANSWER[:60]],
    )
    def test_an_answer_without_the_sections_is_known(self, answer: str) -> None:
        assert not has_sections(answer)

    # What the authors' parser counts: matched findings, then errors (a) to (f).
    AUTHORS: ClassVar = (
        ("No findings match (slice 97)", "(a) x: 1. y.", 0, (1, 0, 0, 0, 0, 0)),
        ("No matched findings.", "No clinically significant errors.", 0, (0,) * 6),
        ("2. Node; nodule.", "No errors (0)", 2, (0,) * 6),
        ("3. a; b; c.", "(1) False finding: 1. x.\n(3) Wrong place: 2. y.", 3, (1, 0, 2, 0, 0, 0)),
        ("1. a.", "(a) x: 1. y.\n(2) Missing: 4. z.", 1, (1, 0, 0, 0, 0, 0)),
        ("There are 2. matches", "(a) x: 1. y.", 0, (1, 0, 0, 0, 0, 0)),
        ("2 matches", "(a) x: 1. y.", 0, (1, 0, 0, 0, 0, 0)),
        ("4. a", "(a) x: 1 finding.\n(b) Missing: 2. b.", 4, (0, 2, 0, 0, 0, 0)),
        ("1. a", "(f) late: 1. x.\n(a) first: 2. x; SUV 4.1 for 5.2.", 1, (2, 0, 0, 0, 0, 1)),
        ("1. a", "(c) x: 1. y.\n\n(d) after an empty line: 3. z.", 1, (0, 0, 1, 0, 0, 0)),
    )

    @pytest.mark.parametrize(("matched", "errors", "n_matched", "counts"), AUTHORS)
    def test_counts_what_the_authors_parser_counts(self, matched, errors, n_matched, counts) -> None:
        answer = f"[Explanation]:\nx\n\n[Clinically Significant Errors]:\n{errors}\n\n[Matched Findings]:\n{matched}"
        assert read_judgement(answer) == Judgement(n_matched, counts)


class TestGreenPrompt:
    def test_braces_in_the_texts_are_words(self) -> None:
        assert (
            green_prompt("{reference}", "{candidate}", "R {reference} C {candidate}") == "R {candidate} C {reference}"
        )


class Server(BaseHTTPRequestHandler):
    """Answers the judge's requests by the text that they ask about."""

    def do_GET(self) -> None:
        self.reply({"object": "list", "data": []})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        self.server.asked.append(asked)  # type: ignore[attr-defined]  # set by the fixture
        words = "I am a parrot." if "nonsense" in asked else ANSWER
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": words}}
        self.reply({"id": "1", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice]})

    def reply(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    made.asked = []  # type: ignore[attr-defined]  # what the judge was asked
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


class TestGreen:
    def settings(self, server: ThreadingHTTPServer, **changes: Any) -> ScoreSettings:
        return ScoreSettings(green_url=f"http://127.0.0.1:{server.server_port}/v1", green_timeout_s=10, **changes)

    def test_scores_what_it_can_read_and_counts_the_rest(self, server: ThreadingHTTPServer) -> None:
        computed = green(PAIRS, self.settings(server))
        assert computed.per_sample.tolist() == pytest.approx([0.5, 0])
        assert (computed.n, "unread:1" in computed.signature) == (2, True)
        assert computed.note == "1 answers of the judge without its sections: 0"

    def test_an_empty_text_scores_0_and_is_not_judged(self, server: ThreadingHTTPServer) -> None:
        computed = green(Pairs(["", "avid node"], ["liver lesion", "avid node"], ["a", "b"]), self.settings(server))
        assert computed.per_sample.tolist() == pytest.approx([0, 0.5])
        assert len(server.asked) == 1  # type: ignore[attr-defined]  # set by the fixture

    def test_asks_no_pair_twice(self, server: ThreadingHTTPServer, tmp_path: Path) -> None:
        settings = self.settings(server, green_cache=tmp_path / "answers.sqlite")
        first, again = green(PAIRS, settings), green(PAIRS, settings)
        asked = server.asked  # type: ignore[attr-defined]  # set by the fixture
        assert [sum("avid node" in words for words in asked), sum("nonsense" in words for words in asked)] == [1, 1]
        assert first.per_sample[0] == again.per_sample[0]

    def test_prompt_keeps_its_lines(self, server: ThreadingHTTPServer) -> None:
        green(PAIRS, self.settings(server))
        assert "Reference:\navid node {left}\n" in "\n".join(server.asked)  # type: ignore[attr-defined]

    def test_asks_for_both_texts(self, server: ThreadingHTTPServer) -> None:
        green(PAIRS, self.settings(server))
        asked = "\n".join(server.asked)  # type: ignore[attr-defined]  # set by the fixture
        assert "avid node {left}" in asked
        assert "{candidate}" not in asked

    def test_prompt_without_places_to_fill(self, server: ThreadingHTTPServer, tmp_path: Path) -> None:
        (tmp_path / "p.txt").write_text("Judge this.")
        with pytest.raises(NotComputableError, match=r"expected \{reference\}"):
            green(PAIRS, self.settings(server, green_prompt=tmp_path / "p.txt"))

    def test_no_server_named(self) -> None:
        with pytest.raises(NotComputableError, match="set `green_url`"):
            green(PAIRS, ScoreSettings())

    def test_server_that_does_not_answer(self) -> None:
        with pytest.raises(NotComputableError, match=r"2 of 2 not judged .*cannot be reached"):
            green(PAIRS, ScoreSettings(green_url="http://127.0.0.1:9/v1", green_timeout_s=1, green_retries=0))


class TestRaTEScore:
    def settings(self, folder: Path, code: str) -> ScoreSettings:
        """An interpreter with a package of that name, whose class is `code`."""
        package = folder / "RaTEScore"
        package.mkdir()
        (package / "__init__.py").write_text(code)
        info = folder / "RaTEScore-0.6.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Name: RaTEScore\nVersion: 0.6.0\n")
        interpreter = folder / "python"
        interpreter.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
        interpreter.chmod(0o755)
        return ScoreSettings(ratescore_python=interpreter, ratescore_weights=(folder, folder))

    def test_texts_go_out_and_scores_come_back(self, tmp_path: Path) -> None:
        code = (
            "class RaTEScore:\n"
            "    def __init__(self, bert_model, eval_model, use_gpu): pass\n"
            "    def compute_score(self, texts, references): return [len(t) / 100 for t in texts]\n"
        )
        computed = ratescore(PAIRS, self.settings(tmp_path, code))
        assert computed.per_sample == pytest.approx([0.09, 0.08])
        assert "version:0.6.0" in computed.signature

    def test_package_that_fails_is_told_with_its_last_line(self, tmp_path: Path) -> None:
        with pytest.raises(NotComputableError, match="RuntimeError: weights are broken"):
            ratescore(PAIRS, self.settings(tmp_path, "raise RuntimeError('weights are broken')"))

    def test_nothing_named(self) -> None:
        with pytest.raises(NotComputableError, match="set `ratescore_python`"):
            ratescore(PAIRS, ScoreSettings())

    def test_weights_that_are_not_there(self, tmp_path: Path) -> None:
        settings = ScoreSettings(ratescore_python=Path(sys.executable), ratescore_weights=(tmp_path / "a", tmp_path))
        with pytest.raises(NotComputableError, match="a: not there"):
            ratescore(PAIRS, settings)
