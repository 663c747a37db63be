"""Texts with their true pairs of slice and SUVmax, to train readers on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from pipelines.phantom.passages.generator import LANGUAGES, passages
from pipelines.reports.scorecard import Labelled, Pairs
from pipelines.settings import ReaderTrainingSettings

TOKEN = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]+|[^\w\s]")
"""A number, a word or a mark."""
_ENGLISH = 0.6
"""Part of the generated passages; the other languages share the rest."""
_LAST_SLICE = 280


@dataclass(frozen=True)
class Example:
    """A text and the lesions of this exam that it names: (slice or null, SUVmax)."""

    text: str
    pairs: Pairs


def number_of(token: str) -> float | None:
    """The value of a token, a comma being a decimal point; null where it is no number, and no larger than 1e9."""
    return min(float(token.replace(",", ".")), 1e9) if token[0].isdecimal() else None


def split(reviewed: Sequence[Labelled], held_out: float) -> tuple[list[Labelled], list[Labelled]]:
    """Reviewed texts to train on and to measure on. The text alone decides, so that more of them move none."""
    held: list[Labelled] = []
    kept: list[Labelled] = []
    for item in reviewed:
        draw = int.from_bytes(blake2b(item.text.encode("utf-8", "surrogatepass"), digest_size=4).digest()) / 2**32
        (held if draw < held_out else kept).append(item)
    return kept, held


def training_examples(
    labelled: Sequence[Labelled], reviewed: Sequence[Labelled], settings: ReaderTrainingSettings, seed: int
) -> list[Example]:
    """Generated passages, and labelled and reviewed texts with their numbers drawn anew, in the order of a seed."""
    rng = np.random.default_rng(seed)
    out = list(_generated(settings.generated, seed))
    out += [redrawn(item, rng) for item in (*labelled, *reviewed) for _ in range(settings.redrawn)]
    return [out[i] for i in rng.permutation(len(out))]


def _generated(n: int, seed: int) -> Iterator[Example]:
    n_english = round(n * _ENGLISH)
    others = [language for language in LANGUAGES if language != "en"]
    counts = {"en": n_english, **{x: (n - n_english) // len(others) for x in others}}
    for language, count in counts.items():
        # Seeds of benchmarks and tests are small numbers: these passages are none of theirs.
        for passage in passages(count, 1_000_000 + seed, language):
            yield Example(passage.text, tuple((m.slice, m.suvmax) for m in passage.mentions))


def redrawn(item: Labelled, rng: np.random.Generator) -> Example:
    """A text with other numbers: all with decimals by one factor, so that what rose still rises, and the slices of its
    pairs. Numbers that neither of the two concerns (levels, vertebrae, dates, whole sizes) stay.
    """
    factor = float(rng.uniform(0.6, 1.6))
    tokens = TOKEN.findall(item.text)
    known = {t for t in tokens if t.isdigit()}
    slices: dict[int, int] = {}
    for number, _ in item.pairs:
        if number is not None and number not in slices:
            free = [n for n in range(20, _LAST_SLICE) if str(n) not in known and n not in slices.values()]
            slices[number] = int(rng.choice(free))

    def drawn(token: str) -> str:
        if token.isdigit():
            return str(slices.get(int(token), token))
        whole, mark, decimals = token.partition("," if "," in token else ".")
        return f"{max(float(f'{whole}.{decimals}') * factor, 0.1):.{len(decimals)}f}".replace(".", mark)

    text = TOKEN.sub(lambda m: drawn(m[0]) if m[0][0].isdecimal() else m[0], item.text)

    def value(suvmax: float) -> float:
        token = next((t for t in tokens if number_of(t) == suvmax), None)
        return suvmax if token is None else float(drawn(token).replace(",", "."))

    return Example(text, tuple((None if s is None else slices[s], value(v)) for s, v in item.pairs))
