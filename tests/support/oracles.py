"""Language models that answer the truth of generated passages, wrong at a set rate, on stub servers."""

import json
import random
import re
from contextlib import ExitStack, contextmanager

from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.prompting import load_prompt
from pipelines.reports.llm.servers import ServerSettings
from tests.support.stub_server import MODEL, Stub, serving

_LINE = re.compile(r"(\d+)\. (.*)")
_DECIMAL = re.compile(r"\d+\.\d+")


def answer(text, truth, rate, seed):
    """JSON about a passage as it was asked: its true mentions, or with one of three errors at the given rate.

    Args:
        truth: mentions of the report by their SUVmax, that have slice, suvmax, organ, region and laterality.
        seed: equal seeds err on equal mentions in equal ways.
    """
    mentions = []
    lines = [(int(m[1]), m[2]) for m in map(_LINE.fullmatch, text.splitlines()) if m]
    for number, line in lines:
        said = {float(n) for n in _DECIMAL.findall(line.replace(",", "."))}
        for value in sorted(said & set(truth)):
            entry = {"sentences": [number], "role": "lesion", "exam": "current", "suv": value, "suv_kind": "max"}
            told = truth[value]
            if told.slice is not None:
                entry["slice"] = told.slice
            entry |= {"organ": told.organ, "region": told.region}
            entry |= {"laterality": told.laterality} if told.laterality else {}
            draw = random.Random(f"{seed} {line} {value}")
            if draw.random() < rate:
                entry = _wrong(entry, sorted(said - set(truth)), draw)
            mentions += [entry] if entry else []
    return json.dumps({"mentions": mentions})


def _wrong(entry, others, draw):
    kind = draw.choice(["missed", "prior", "other value"])
    if kind == "prior":
        return {**entry, "exam": "prior"}
    if kind == "other value" and others:
        return {**entry, "suv": draw.choice(others)}
    return None


@contextmanager
def oracles(truth_of, rates_and_seeds):
    """A reader for each (rate, seed), named by both; `truth_of` gives the truth of a passage's text."""
    with ExitStack() as stack:
        readers = []
        for rate, seed in rates_and_seeds:
            stub = Stub(behave=lambda text, n, r=rate, s=seed: (200, answer(text, truth_of(text), r, s), "stop"))
            stack.enter_context(serving(stub))
            server = ServerSettings(MODEL, stub.url, concurrency=8)
            readers.append(LlmReader(f"{rate:.0%} {seed}", server, load_prompt("passage-v1")))
        yield readers
