"""A small network that gives each number of a text a role, and each SUV its slice, so that all it says stands there."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor, nn

from model.readers.examples import TOKEN, Example, number_of
from pipelines.reports.vocabulary.text import clean, lower

BUCKETS = 8192
"""Rows of the table of embeddings that features are hashed to; 0 is padding."""
FEATURES = 6
"""Of a token: itself, its two first and last parts, what it looks like, and how large it is."""
OTHER, SUV, SLICE = range(3)
"""Roles of a number: SUV of a lesion at this exam, its slice, or anything else."""
UNKNOWN = -100
"""Label of a number of which the pairs do not say what it is; it counts for nothing."""
MAX_TOKENS = 512


@dataclass(frozen=True)
class Encoded:
    """A text as the network reads it: features (tokens, FEATURES), and the tokens that are numbers.

    `roles` and `links` are labels, empty without them: of each number its role, and the token of the slice of an SUV,
    -1 for one without.
    """

    features: Tensor
    numbers: tuple[int, ...]
    values: tuple[float, ...]
    spans: tuple[tuple[int, int], ...]
    roles: tuple[int, ...] = ()
    links: tuple[int, ...] = ()


def encode(text: str) -> Encoded:
    """A text without labels."""
    tokens = list(TOKEN.finditer(lower(clean(text))))[:MAX_TOKENS]
    rows = [list(_features(m[0])) for m in tokens]
    features = torch.tensor(rows, dtype=torch.long) if rows else torch.zeros((1, FEATURES), dtype=torch.long)
    numbers = [i for i, m in enumerate(tokens) if m[0][0].isdecimal()]
    values = tuple(number_of(tokens[i][0]) or 0.0 for i in numbers)
    return Encoded(features, tuple(numbers), values, tuple(tokens[i].span() for i in numbers))


def encode_labelled(example: Example) -> Encoded | None:
    """A text with its labels; null where one of its pairs does not stand there as numbers."""
    bare = encode(example.text)
    roles = [OTHER] * len(bare.numbers)
    links = [-1] * len(bare.numbers)
    for number, suvmax in example.pairs:
        suvs = [n for n, value in enumerate(bare.values) if value == suvmax]
        slices = [n for n, value in enumerate(bare.values) if value == number]
        if not suvs or (number is not None and not slices):
            return None
        # Of equal numbers it is not known which is meant.
        for found, role in ((suvs, SUV), (slices, SLICE)):
            for n in found:
                roles[n] = role if len(found) == 1 else UNKNOWN
        if number is not None:
            links[suvs[0]] = slices[0]
    return Encoded(bare.features, bare.numbers, bare.values, bare.spans, tuple(roles), tuple(links))


def _features(token: str) -> Iterator[int]:
    if token[0].isdecimal():
        value = number_of(token) or 0.0
        exact = token if token.isdecimal() and value < 32 else ""
        size = str(min(int(value).bit_length(), 12))
        names = ("number", f"exact {exact}", "", "", "shape " + re.sub(r"\d", "9", token)[:8], f"size {size}")
    else:
        names = (token, token[:3], token[-3:], token[:5], token[-5:], "word")
    for n, name in enumerate(names):
        yield 1 + crc32(f"{n} {name}".encode("utf-8", "surrogatepass")) % (BUCKETS - 1)


class Tagger(nn.Module):
    """Hashed embeddings, a bidirectional LSTM, a role of each number, and a score of each SUV with each slice.

    Args:
        width: features of an embedding.
        hidden: features of a direction of the LSTM.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(BUCKETS, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.dropout = nn.Dropout(0.2)
        self.role = nn.Linear(2 * hidden, 3)
        self.suv, self.slice = nn.Linear(2 * hidden, hidden), nn.Linear(2 * hidden, hidden)
        self.alone = nn.Linear(hidden, 1)
        self.distance = nn.Parameter(torch.zeros(2))
        """Of tokens between an SUV and a slice behind it, and before it."""

    def forward(self, batch: Sequence[Encoded]) -> list[tuple[Tensor, Tensor]]:
        """Of each text the logits of the roles (numbers, 3), and of the links (numbers, numbers + 1), the last column
        being "no slice".
        """
        lengths = torch.tensor([len(x.features) for x in batch])
        padded = nn.utils.rnn.pad_sequence([x.features for x in batch], batch_first=True)
        embedded = self.dropout(self.embeddings(padded).sum(2))
        packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        states = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]
        return [self._heads(states[n], x) for n, x in enumerate(batch)]

    def _heads(self, states: Tensor, x: Encoded) -> tuple[Tensor, Tensor]:
        at = torch.tensor(x.numbers, dtype=torch.long)
        own = self.dropout(states[at])
        suv, number = self.suv(own).tanh(), self.slice(own).tanh()
        gap = (at[None, :] - at[:, None]).float()
        near = -(1 + gap.abs()).log()
        scores = suv @ number.T + near * torch.where(gap > 0, self.distance[0], self.distance[1])
        return self.role(own), torch.cat([scores, self.alone(suv)], dim=1)


def loss_of(outputs: Sequence[tuple[Tensor, Tensor]], batch: Sequence[Encoded]) -> Tensor:
    """Mean cross entropy of the roles of all numbers, and of the links of the SUVs among the slices."""
    roles: list[Tensor] = []
    targets: list[int] = []
    links: list[Tensor] = []
    for (role, link), x in zip(outputs, batch, strict=True):
        roles.append(role)
        targets += x.roles
        is_slice = torch.tensor([r in (SLICE, UNKNOWN) for r in x.roles] + [True], dtype=torch.bool)
        for n, wanted in enumerate(x.links):
            if x.roles[n] == SUV:
                logits = link[n].masked_fill(~is_slice, -1e9)
                links.append(nn.functional.cross_entropy(logits[None], torch.tensor([wanted % len(logits)])))
    total = nn.functional.cross_entropy(torch.cat(roles), torch.tensor(targets), ignore_index=UNKNOWN)
    return total + (torch.stack(links).mean() if links else 0.0)


@dataclass(frozen=True)
class Link:
    """An SUV of a text and its slice, each with its place (half-open); null for an SUV without one."""

    suv: float
    suv_span: tuple[int, int]
    slice: int | None
    slice_span: tuple[int, int] | None


@torch.no_grad()
def links_of(tagger: Tagger, texts: Sequence[str], batch: int = 64) -> list[list[Link]]:
    """What a trained tagger reads in texts, in reading order."""
    tagger.eval()
    encoded = [encode(text) for text in texts]
    out: list[list[Link]] = []
    for begin in range(0, len(encoded), batch):
        part = encoded[begin : begin + batch]
        out += [_read(role, link, x) for (role, link), x in zip(tagger(part), part, strict=True)]
    return out


def _read(role: Tensor, link: Tensor, x: Encoded) -> list[Link]:
    roles = role.argmax(1).tolist()
    is_slice = [r == SLICE and float(v).is_integer() for r, v in zip(roles, x.values, strict=True)]
    usable = torch.tensor([*is_slice, True], dtype=torch.bool)
    found = []
    for n, said in enumerate(roles):
        if said != SUV:
            continue
        m = int(link[n].masked_fill(~usable, -1e9).argmax())
        number, span = (None, None) if m == len(roles) else (int(x.values[m]), x.spans[m])
        found.append(Link(x.values[n], x.spans[n], number, span))
    return found
