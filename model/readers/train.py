"""Training of the tagger, and whether it has earned a vote."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from math import comb
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from model.petar.checkpoints import write_folder_atomically
from model.readers.examples import Example, split, training_examples
from model.readers.reader import CARD, WEIGHTS, TaggerReader
from model.readers.tagger import Encoded, Tagger, encode_labelled, loss_of
from pipelines.reports.reader_history import reader_errors
from pipelines.reports.readers import Reader, RulesReader
from pipelines.reports.scorecard import Labelled
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.settings import ReaderTrainingSettings
from pipelines.tables.provenance import code_version

LOG = logging.getLogger(__name__)
_STATE = "state.pt"
SIGNIFICANT = 0.05
"""One-sided probability of the exact McNemar test below which a reader counts as better."""


@dataclass(frozen=True)
class SeedResult:
    """How a reader of one seed reads the held-out texts, beside the rules: texts read right and with a wrong pair, and
    the probability that as many texts would be read right by it alone if both were equally good.
    """

    seed: int
    n: int
    right: int
    wrong: int
    rules_right: int
    rules_wrong: int
    p: float

    @property
    def is_better(self) -> bool:
        """Whether it reads more texts right than the rules, and no more with a wrong pair."""
        return self.right > self.rules_right and self.wrong <= self.rules_wrong and self.p < SIGNIFICANT


@dataclass(frozen=True)
class Trained:
    """The folder of a trained reader, and how each seed reads the held-out texts."""

    folder: Path
    results: tuple[SeedResult, ...]
    may_vote: bool
    why: str


def train_tagger(
    folder: Path,
    labelled: Sequence[Labelled],
    reviewed: Sequence[Labelled],
    settings: ReaderTrainingSettings,
    vocabulary: Vocabulary,
) -> Trained:
    """Trains a tagger with each seed, measures all on held-out reviewed texts, and writes the first one to `folder`,
    with a card that says whether it may vote. A killed training goes on from its last state.

    Args:
        labelled: what the rules were made on: trained on, and never measured on.
        reviewed: what reviewers have judged; a part is held out.
    """
    kept, held_out = split(reviewed, settings.held_out)
    results = []
    for seed in settings.seeds:
        own = folder / f"seed-{seed}"
        examples = training_examples(labelled, kept, settings, seed)
        tagger = fit(own, examples, settings, seed)
        card = {"width": settings.width, "hidden": settings.hidden, "seed": seed, "may_vote": False}
        write_reader(own / "reader", tagger, card)
        reader = TaggerReader("tagger", own / "reader", vocabulary)
        results.append(compared(reader, held_out, seed, vocabulary))
        LOG.info("seed %d: %s", seed, results[-1])
    may_vote, why = verdict(results, settings)
    first = folder / f"seed-{settings.seeds[0]}" / "reader"
    told: dict[str, object] = {
        **json.loads((first / CARD).read_text()),
        "may_vote": may_vote,
        "why": why,
        "seeds": [asdict(result) for result in results],
    }

    def write(temporary: Path) -> None:
        (temporary / WEIGHTS).write_bytes((first / WEIGHTS).read_bytes())
        (temporary / CARD).write_text(json.dumps(told, indent=1) + "\n")

    write_folder_atomically(folder / "reader", write)
    return Trained(folder / "reader", tuple(results), may_vote, why)


def fit(folder: Path, examples: Sequence[Example], settings: ReaderTrainingSettings, seed: int) -> Tagger:
    """A tagger trained on the examples; its state lies in `folder` until it is done."""
    torch.manual_seed(seed)
    tagger = Tagger(settings.width, settings.hidden)
    encoded = [x for example in examples if (x := encode_labelled(example)) is not None and x.numbers]
    if not encoded:
        raise ValueError("expected texts whose pairs stand in them, got none: add labelled texts or generated passages")
    order = np.random.default_rng(seed)
    batches = [ids for _ in range(settings.epochs) for ids in _batches(encoded, settings.batch, order)]
    optimiser = AdamW(tagger.parameters(), lr=settings.learning_rate)
    schedule = OneCycleLR(optimiser, settings.learning_rate, total_steps=len(batches))
    state = _State(folder, _identity(encoded, settings, seed))
    begin = state.load(tagger, optimiser, schedule)
    for step in range(begin, len(batches)):
        tagger.train()
        batch = [encoded[i] for i in batches[step]]
        loss = loss_of(tagger(batch), batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % settings.checkpoint_steps == 0:
            state.save(step + 1, tagger, optimiser, schedule)
            LOG.info("step %d of %d, loss %.4f", step + 1, len(batches), loss.item())
    state.remove()
    return tagger


def _batches(encoded: Sequence[Encoded], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Indices of one pass, texts of like length together, the batches in the order of the draw."""
    noise = rng.uniform(-4, 4, len(encoded))
    by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i].features) + noise[i])
    parts = [by_length[i : i + size] for i in range(0, len(by_length), size)]
    return [parts[i] for i in rng.permutation(len(parts))]


def _identity(encoded: Sequence[Encoded], settings: ReaderTrainingSettings, seed: int) -> str:
    content = repr((seed, settings, code_version(__name__), [(x.values, x.roles) for x in encoded]))
    return blake2b(content.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class _State:
    """What a killed training resumes from; that of other texts, settings or code is not."""

    folder: Path
    identity: str

    def save(self, step: int, tagger: Tagger, optimiser: Optimizer, schedule: LRScheduler) -> None:
        content = {
            "identity": self.identity, "step": step, "tagger": tagger.state_dict(),
            "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "random": torch.get_rng_state(),
        }  # fmt: skip
        write_folder_atomically(self.folder / "resume", lambda folder: torch.save(content, folder / _STATE))

    def load(self, tagger: Tagger, optimiser: Optimizer, schedule: LRScheduler) -> int:
        """Steps that are done."""
        path = self.folder / "resume" / _STATE
        content = torch.load(path, weights_only=True) if path.is_file() else {}
        if content.get("identity") != self.identity:
            return 0
        tagger.load_state_dict(content["tagger"])
        optimiser.load_state_dict(content["optimiser"])
        schedule.load_state_dict(content["schedule"])
        torch.set_rng_state(content["random"])
        return int(content["step"])

    def remove(self) -> None:
        (self.folder / "resume" / _STATE).unlink(missing_ok=True)


def write_reader(folder: Path, tagger: Tagger, card: Mapping[str, object]) -> None:
    """Writes weights and card."""

    def write(temporary: Path) -> None:
        save_file(tagger.state_dict(), str(temporary / WEIGHTS))
        (temporary / CARD).write_text(json.dumps(card, indent=1) + "\n")

    write_folder_atomically(folder, write)


# --- the vote --------------------------------------------------------------------------------------------------------


def compared(reader: Reader, held_out: Sequence[Labelled], seed: int, vocabulary: Vocabulary) -> SeedResult:
    """How a reader reads held-out texts beside the rules."""
    rules = RulesReader(vocabulary=vocabulary)
    alone = rules_alone = 0
    totals: dict[str, list[int]] = {reader.name: [0, 0], rules.name: [0, 0]}
    for item in held_out:
        errors = {row["reader"]: row for row in reader_errors([item], [rules, reader], vocabulary).to_dicts()}
        for name, row in errors.items():
            totals[name][0] += row["right"]
            totals[name][1] += row["wrong"]
        alone += errors[reader.name]["right"] > errors[rules.name]["right"]
        rules_alone += errors[reader.name]["right"] < errors[rules.name]["right"]
    (right, wrong), (rules_right, rules_wrong) = totals[reader.name], totals[rules.name]
    return SeedResult(
        seed, len(held_out), right, wrong, rules_right, rules_wrong, probability_of_equal(alone, rules_alone)
    )


def probability_of_equal(alone: int, other_alone: int) -> float:
    """One-sided exact McNemar test: the probability that, of the texts that one of two readers alone reads right, at
    least `alone` are the first one's, if both were equally good.
    """
    n = alone + other_alone
    return sum(comb(n, k) for k in range(alone, n + 1)) / 2**n


def verdict(results: Sequence[SeedResult], settings: ReaderTrainingSettings) -> tuple[bool, str]:
    """Whether a reader may vote, and why: with every seed it is better than the rules on enough held-out texts."""
    n = min((result.n for result in results), default=0)
    if n < settings.least_held_out:
        return False, f"{n} held-out reviewed texts, {settings.least_held_out} are needed to tell"
    better = [result.seed for result in results if result.is_better]
    if len(better) < len(results):
        return False, f"better than the rules with {len(better)} of {len(results)} seeds on {n} held-out texts"
    return True, f"better than the rules with all of {len(results)} seeds on {n} held-out texts"
