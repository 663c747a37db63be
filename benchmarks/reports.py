"""How fast reports are read: `python -m benchmarks.reports rules`, `client`, or `vllm --url http://127.0.0.1:8000`.

rules    33,000 reports of about 150,000 sentences, on one core (target: 60 s). client   questions a second against a
server that answers at once, on one core (target: 100). vllm     a real server: questions a second one at a time and 16
in flight, side by side (target: 3 times).
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.reports.consensus import decide_exam
from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.prompting import load_prompt
from pipelines.reports.llm.servers import ServerSettings
from pipelines.reports.passages import Passage, passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.scorecard import load_labelled
from pipelines.reports.sentences import split_report

STUB = Path(__file__).parents[1] / "tests" / "support" / "stub_server.py"


class Measurement(StrEnum):
    """What is measured."""

    RULES = "rules"
    CLIENT = "client"
    VLLM = "vllm"


_PLACES = (
    "right axilla",
    "left upper lobe",
    "subcarinal station",
    "right hepatic lobe",
    "left adrenal gland",
    "L4 vertebral body",
    "right iliac bone",
    "left inguinal region",
    "sigmoid colon",
    "right thyroid lobe",
    "left palatine tonsil",
    "mesentery",
)
_THINGS = ("mass", "lymph node", "focus", "lesion", "nodule")
_PLAIN = (
    "No hypermetabolic adenopathy is seen.",
    "Physiologic activity in the brain, heart, kidneys and bladder.",
    "The spleen is normal in size and uptake.",
    "Mild degenerative changes of the lumbar spine without suspicious uptake.",
    "A 4 mm nodule in the right lung is too small for PET.",
    "Background liver activity is homogeneous.",
    "Atherosclerotic calcifications of the aorta and the coronary arteries.",
)
_FINDINGS = (
    "Hypermetabolic {thing} in the {place} has an SUV max of {suv} (series 3, image {slice}).",
    "There is a {size} x 1.1 cm {thing} in the {place} with SUVmax {suv} on slice {slice}, previously {prior}.",
    "{place}: {thing} (slice {slice}). The SUV max of the {thing} is {suv}.",
    "Image {slice}: {thing} of the {place}, SUV {suv}, compared to {prior} on the prior exam.",
    "The {thing} in the {place} has decreased from SUV {prior} to {suv} (image {slice} of 299).",
)
_HEADINGS = ("HEAD/NECK: ", "CHEST: ", "ABDOMEN/PELVIS: ", "MUSCULOSKELETAL: ")


def reports(n: int, seed: int = 0) -> Iterator[str]:
    """Reports of four to five sentences in four sections, one sentence in four a finding, no two alike."""
    rng = random.Random(seed)

    def finding() -> str:
        return rng.choice(_FINDINGS).format(
            thing=rng.choice(_THINGS),
            place=rng.choice(_PLACES),
            suv=f"{rng.uniform(2, 20):.1f}",
            prior=f"{rng.uniform(2, 20):.1f}",
            slice=rng.randint(10, 280),
            size=f"{rng.uniform(0.5, 5):.1f}",
        )

    for _ in range(n):
        lines = [heading + (finding() if rng.random() < 0.25 else rng.choice(_PLAIN)) for heading in _HEADINGS]
        if rng.random() < 0.6:
            lines[rng.randrange(4)] += " " + (finding() if rng.random() < 0.25 else rng.choice(_PLAIN))
        yield "\n".join(lines)


def rules(n: int) -> None:
    """Splits and reads n reports, and then decides about them, in one process."""
    texts = list(reports(n))
    reader = RulesReader()
    began, cpu = time.perf_counter(), time.process_time()
    read = []
    for i, text in enumerate(texts):
        sentences = split_report(f"E{i}", text)
        read.append((sentences, reader.read(passages_of(sentences))))
    parsed_s, parsed_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    began = time.perf_counter()
    accepted = sum(
        f.outcome.value == "accepted" for sentences, readings in read for f in decide_exam(sentences, readings)
    )
    decided_s = time.perf_counter() - began
    units = sum(len(sentences) for sentences, _ in read)
    mentions = sum(len(reading.mentions) for _, readings in read for reading in readings)
    print(
        f"rules: {n} reports, {units} sentences, {mentions} mentions read in {parsed_s:.1f} s"
        f" ({parsed_cpu_s:.1f} s of CPU)"
        f" ({units / parsed_s:.0f} sentences a second; target 60 s for 33,000 reports); {accepted} findings decided in"
        f" {decided_s:.1f} s more"
    )


def _reader(url: str, model: str, concurrency: int) -> LlmReader:
    server = ServerSettings(
        model, url if url.endswith("/v1") else f"{url}/v1", concurrency=concurrency, timeout_s=300.0
    )
    return LlmReader(f"{model} x{concurrency}", server, load_prompt("passage-v1"))


def _numbered(n: int) -> list[Passage]:
    texts = (f"Left lung nodule with SUV max of {3 + i / 1000:.3f} (slice {80 + i % 100})." for i in range(n))
    return [passage for text in texts for passage in passages_of(split_report("E", text))]


def _measure(reader: LlmReader, passages: Sequence[Passage]) -> tuple[float, float]:
    """Passages a second by the clock, and a second of this process's CPU time."""
    clock, cpu = time.perf_counter(), time.process_time()
    failed = [r.error for r in reader.read(passages) if r.error is not None]
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    if failed and len(failed) > len(passages) // 2:
        raise SystemExit(f"expected answers, {len(failed)} of {len(passages)} failed, the first with: {failed[0]}")
    return len(passages) / clock, len(passages) / cpu


def client(n: int) -> None:
    """Asks a stub in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(STUB.parents[2])}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(STUB), "0"], stdin=pipe, stdout=pipe, text=True, env=environment
    ) as stub:
        assert stub.stdout is not None
        assert stub.stdin is not None
        reader = _reader(stub.stdout.readline().strip(), "stub", 16)
        _measure(reader, _numbered(50))
        by_clock, by_cpu = _measure(reader, _numbered(n))
        stub.stdin.close()
    print(f"client: {by_clock:.0f} passages a second by the clock, {by_cpu:.0f} a second of its CPU time (target 100)")


def vllm(url: str, model: str, n: int) -> None:
    """Asks a real server about different passages of the labelled set, one at a time and 16 in flight, in turns."""
    split = (split_report(f"labelled-{n:04d}", item.text) for n, item in enumerate(load_labelled(), start=1))
    pool = [passage for sentences in split for passage in passages_of(sentences)]
    # Each turn gets passages of its own, or the server's cache of prefixes would answer the later ones.
    random.Random(0).shuffle(pool)
    warm, rest = pool[:8], pool[8:]
    n = min(n, len(rest) // 4)
    _measure(_reader(url, model, 8), warm)
    rates: dict[int, list[float]] = {1: [], 16: []}
    for k, concurrency in enumerate((1, 16, 16, 1)):
        part = rest[k * n : (k + 1) * n]
        rates[concurrency].append(_measure(_reader(url, model, concurrency), part)[0])
    alone, together = (sum(rates[c]) / len(rates[c]) for c in (1, 16))
    print(
        f"vllm: {model}, {n} passages a turn: {alone:.2f} a second one at a time, {together:.2f} at 16 in flight:"
        f" {together / alone:.1f} times (target 3); turns {json.dumps(rates)}"
    )


def main(
    what: Annotated[list[Measurement] | None, typer.Argument()] = None,
    reports: int = 33_000,
    sentences: Annotated[int, typer.Option(help="of the client (0: 1000), of a turn of vllm (0: 24)")] = 0,
    url: str = "http://127.0.0.1:8000",
    model: str = "smollm2-135m",
) -> None:
    """Runs the measurements that are named; rules and client where none is."""
    what = what or [Measurement.RULES, Measurement.CLIENT]
    if Measurement.RULES in what:
        rules(reports)
    if Measurement.CLIENT in what:
        client(sentences or 1000)
    if Measurement.VLLM in what:
        vllm(url, model, sentences or 24)


if __name__ == "__main__":
    typer.run(main)
