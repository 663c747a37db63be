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
from pipelines.tables.safe_text import error_reason

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
    said = pairs.at(pairs.said)
    task = {
        "texts": list(said.texts),
        "references": list(said.references),
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
            raise NotComputableError(
                f"RaTEScore: {settings.ratescore_python} did not run: {error_reason(error)}"
            ) from error
        if done.returncode or not made.exists():
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise NotComputableError(f"RaTEScore: {settings.ratescore_python} failed: {lines[-1]}")
        answer = json.loads(made.read_text())
    if len(answer["values"]) != len(said):
        raise NotComputableError(f"RaTEScore: expected {len(said)} scores, got {len(answer['values'])}")
    return Mean(pairs.spread(answer["values"]), f"RaTEScore|version:{answer['version']}|out of its domain on PET")


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


_SIGNIFICANT, _MATCHED = (
    re.compile(rf"\[{name}\]:\s*(.*?)(?:\n\s*\n|\Z)", re.DOTALL)
    for name in ("Clinically Significant Errors", "Matched Findings")
)
"""A section of the answer; an empty line ends it."""
_N_KINDS = 6
_KINDS = (("a", "b", "c", "d", "e", "f"), ("1", "2", "3", "4", "5", "6"))
"""What the judge calls the kinds of error; figures count where there is no letter."""
_ERROR_COUNT = re.compile(r"(?<=: )\b\d+\b(?=\.)")
_MATCHED_COUNT = re.compile(r"\d+\b(?=\.)")


def read_judgement(answer: str) -> Judgement:
    """Counts in the judge's answer, as the authors' parser (github.com/Stanford-AIMI/GREEN) takes them.

    A section begins with its name in brackets and ends at an empty line; one that is missing or begins with "No" counts
    nothing. An error's count is the first number between ": " and "." of the line of its kind, (a) to (f) or, where
    there is no letter, (1) to (6); the matched findings are a number and a full stop at the very beginning.
    """
    found = _MATCHED.search(answer)
    matched = None if found is None or found[1].startswith("No") else _MATCHED_COUNT.match(found[1])
    return Judgement(int(matched[0]) if matched else 0, _errors(_SIGNIFICANT.search(answer)))


def _errors(section: re.Match[str] | None) -> tuple[int, ...]:
    counts = [0] * _N_KINDS
    if section is None or section[1].startswith("No"):
        return tuple(counts)
    for names in _KINDS:
        # In order: of two lines of one kind the later by the alphabet counts.
        lines = sorted(re.findall(rf"\([{''.join(names)}]\) .*", section[1]))
        for line in lines:
            if count := _ERROR_COUNT.search(line):
                counts[names.index(line[1])] = int(count[0])
        if lines:
            break
    return tuple(counts)


def has_sections(answer: str) -> bool:
    """Whether the judge answered with the sections that it was asked for; without them a text scores 0."""
    return bool(_SIGNIFICANT.search(answer) and _MATCHED.search(answer))


def green_prompt(text: str, reference: str, template: str) -> str:
    """The prompt for a pair; braces in the texts are words, not places to fill."""
    return template.replace("{reference}", "\0").replace("{candidate}", text).replace("\0", reference)


def green(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean GREEN (Ostmeier et al. 2024) by a judge on an OpenAI-compatible server.

    An empty text scores 0 unasked, and so does an answer without the sections that were asked for; a pair counts for
    none only where the server did not answer.
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
    asked = [json.dumps(pair) if pair[0] else None for pair in zip(pairs.texts, pairs.references, strict=True)]
    with _cache(settings.green_cache) as cache:
        given = iter(ask_all(server, question, [a for a in asked if a], cache, lambda _: None, name="GREEN"))
    answers = [None if a is None else next(given) for a in asked]
    each = np.array([0.0 if a is None else _score_of(a.text) for a in answers])
    failed = int(np.isnan(each).sum())
    unread = sum(a is not None and a.text is not None and not has_sections(a.text) for a in answers)
    reasons = Counter(a.error for a in answers if a is not None and a.error is not None).most_common(1)
    notes = [f"{failed} of {len(each)} not judged (for example: {reasons[0][0]})"] if reasons else []
    notes += [f"{unread} answers of the judge without its sections: 0"] if unread else []
    note = "; ".join(notes) or None
    if not np.isfinite(each).any():
        raise NotComputableError(f"GREEN: {note}")
    signature = f"petar|GREEN|judge:{settings.green_model}|prompt:{path.stem}|unread:{unread}|out of its domain on PET"
    return Mean(each, signature, note)


def _score_of(answer: str | None) -> float:
    return float("nan") if answer is None else read_judgement(answer).score


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
