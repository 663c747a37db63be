"""Metrics that run elsewhere: RaTEScore in a venv of its own, GREEN on an OpenAI-compatible server such as vLLM.

Both were trained on chest X-ray and CT reports, so on PET they are out of their domain; their signatures say so.
"""

import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluation.metrics.pairs import Mean, Pairs
from model.evaluation.metrics.settings import NotComputableError
from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.chat import ask_all
from pipelines.reports.llm.servers import ServerSettings
from pipelines.settings import ScoreSettings
from pipelines.tables.hashing import hash_of

_PROMPT = Path(__file__).with_name("prompts") / "green-v1.txt"
_RATESCORE_SCRIPT = """
import json, sys
from importlib.metadata import version
from RaTEScore import RaTEScore
task = json.load(open(sys.argv[1]))
scorer = RaTEScore(bert_model=task["ner"], eval_model=task["embedding"], use_gpu=task["gpu"])
values = [float(v) for v in scorer.compute_score(task["texts"], task["references"])]
json.dump({"values": values, "version": version("RaTEScore")}, open(sys.argv[2], "w"))
"""
_RATESCORE_TIMEOUT_S = 3600


def ratescore(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean RaTEScore, computed by the package in its own interpreter, texts in and scores out by file."""
    if settings.ratescore_python is None or settings.ratescore_weights is None:
        raise NotComputableError(
            "RaTEScore needs a venv of its own with the package RaTEScore (numpy < 2) and its weights: set "
            "`ratescore_python` to that interpreter and `ratescore_weights` to the folders of its recogniser and its "
            "embedding model"
        )
    missing = [str(p) for p in (settings.ratescore_python, *settings.ratescore_weights) if not p.exists()]
    if missing:
        raise NotComputableError(f"RaTEScore needs {', '.join(missing)}: not there")
    if len(settings.ratescore_weights) != 2:
        raise NotComputableError(
            "RaTEScore: expected two folders in `ratescore_weights`, the recogniser's and the embedding model's, got "
            f"{len(settings.ratescore_weights)}"
        )
    recogniser, embedding = settings.ratescore_weights
    task = {
        "texts": list(pairs.texts),
        "references": list(pairs.references),
        "ner": str(recogniser),
        "embedding": str(embedding),
        "gpu": settings.device != "cpu",
    }
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "task.json", Path(folder) / "scores.json"
        given.write_text(json.dumps(task))
        command = [str(settings.ratescore_python), "-c", _RATESCORE_SCRIPT, str(given), str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_RATESCORE_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotComputableError(f"RaTEScore: {settings.ratescore_python} did not run: {error}") from error
        if done.returncode or not made.exists():
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise NotComputableError(f"RaTEScore: {settings.ratescore_python} failed: {lines[-1]}")
        answer = json.loads(made.read_text())
    if len(answer["values"]) != len(pairs):
        raise NotComputableError(f"RaTEScore: expected {len(pairs)} scores, got {len(answer['values'])}")
    return Mean(np.array(answer["values"], float), f"RaTEScore|version:{answer['version']}|out of its domain on PET")


@dataclass(frozen=True)
class Judgement:
    """What the judge counted in a text: findings that match the reference, and clinically significant errors by
    kind.
    """

    matched: int
    errors: tuple[int, ...]
    """False finding, missing finding, wrong place, wrong severity, comparison made up, comparison left out."""

    @property
    def score(self) -> float:
        """Matched findings over matched findings and significant errors; 0 where nothing matched."""
        return self.matched / (self.matched + sum(self.errors)) if self.matched else 0.0


_HEADING = re.compile(
    r"^\W*(clinically significant errors|clinically insignificant errors|matched findings)[^\w\n(]*", re.I | re.M
)
_ITEM = re.compile(r"\(([a-f])\)[^:\n]*:\s*\**\s*(\d+)", re.I)
_COUNT = re.compile(r"(\d+)")
_N_KINDS = 6


def read_judgement(answer: str) -> Judgement | None:
    """Counts in the judge's answer; None where it does not have the sections that were asked for."""
    matches = list(_HEADING.finditer(answer))
    ends = [m.start() for m in matches[1:]] + [len(answer)]
    sections = {m[1].lower(): answer[m.end() : end] for m, end in zip(matches, ends, strict=False)}
    significant, matched = sections.get("clinically significant errors"), sections.get("matched findings")
    if significant is None or matched is None:
        return None
    errors = [0] * _N_KINDS
    items = _ITEM.findall(significant)
    if not items and not re.search(r"\b(?:no|none)\b|\b0\b", significant, re.I):
        return None
    for letter, count in items:
        errors["abcdef".index(letter.lower())] += int(count)
    first = _COUNT.search(matched)
    if first is None and not re.search(r"\bno(?:ne)?\b", matched, re.I):
        return None
    return Judgement(int(first[1]) if first else 0, tuple(errors))


def green_prompt(text: str, reference: str, template: str) -> str:
    """The prompt for a pair; braces in the texts are words, not places to fill."""
    return template.replace("{reference}", "\0").replace("{candidate}", text).replace("\0", reference)


def green(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean GREEN (Ostmeier et al. 2024) by a judge on an OpenAI-compatible server; an answer that can not be read
    counts for none.
    """
    if settings.green_url is None:
        raise NotComputableError(
            f"GREEN needs an OpenAI-compatible server with {settings.green_model}: start one (vLLM) and set `green_url`"
        )
    path = settings.green_prompt or _PROMPT
    template = path.read_text()
    if "{reference}" not in template or "{candidate}" not in template:
        raise NotComputableError(
            f"GREEN: expected {{reference}} and {{candidate}} in the prompt {path}, got none: fix it"
        )
    server = ServerSettings(
        settings.green_model,
        settings.green_url,
        concurrency=settings.green_in_flight,
        timeout_s=settings.green_timeout_s,
        max_retries=settings.green_retries,
        max_tokens=settings.green_max_tokens,
    )
    question = _Judging(f"{path.stem}@{hash_of(template)[:8]}", template)
    # As JSON, for the client asks equal words once and takes line breaks for spaces.
    asked = [json.dumps(pair) for pair in zip(pairs.texts, pairs.references, strict=True)]
    with _cache(settings.green_cache) as cache:
        answers = ask_all(server, question, asked, cache, _unread, name="GREEN")
    judged = [read_judgement(answer.text) if answer.text is not None else None for answer in answers]
    each = np.array([float("nan") if judgement is None else judgement.score for judgement in judged])
    unread = int(np.isnan(each).sum())
    reasons = Counter(answer.error for answer in answers if answer.error is not None).most_common(1)
    note = f"{unread} of {len(each)} not judged (for example: {reasons[0][0]})" if reasons else None
    if not np.isfinite(each).any():
        raise NotComputableError(f"GREEN: {note}")
    signature = f"petar|GREEN|judge:{settings.green_model}|prompt:{path.stem}|unread:{unread}|out of its domain on PET"
    return Mean(each, signature, note)


@contextmanager
def _cache(path: Path | None) -> Iterator[AnswerCache | None]:
    if path is None:
        yield None
        return
    with AnswerCache(path) as cache:
        yield cache


@dataclass(frozen=True)
class _Judging:
    """The question of a pair, given as JSON [text, reference]; answered in words."""

    version: str
    template: str
    schema_text: str = ""

    def messages(self, text: str) -> list[dict[str, Any]]:
        words, reference = json.loads(text)
        return [{"role": "user", "content": green_prompt(words, reference, self.template)}]

    def response_format(self) -> None:
        return None


def _unread(answer: str) -> str | None:
    if read_judgement(answer) is not None:
        return None
    return f"expected the sections of a judgement, the judge answered {answer[:80]!r}"
