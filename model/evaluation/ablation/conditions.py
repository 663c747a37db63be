"""The conditions of the paper's ablation (arXiv 2510.27680) and what each reached. No torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from model.petar.config import ModelConfig
from pipelines.dataset.samples import parse
from pipelines.tables import atomic
from pipelines.tables.home import Home

RESULT_NAME = "result.json"


@dataclass(frozen=True)
class Condition:
    """A condition of the ablation: what the model is given."""

    name: str
    mask: bool = True
    ct: bool = True
    focal: bool = True
    anatomy: bool = True

    def applied_to(self, config: ModelConfig) -> ModelConfig:
        """The configuration with this condition's switches."""
        return replace(
            config, use_mask=self.mask, use_ct=self.ct, use_focal=self.focal, use_anatomy_pretraining=self.anatomy
        )

    @property
    def folder_name(self) -> str:
        """The name as a folder's: "mask, focal" is mask_focal."""
        return self.name.replace(", ", "_").replace(" ", "_")


CONDITIONS: tuple[Condition, ...] = (
    Condition("none", mask=False, ct=False, focal=False, anatomy=False),
    Condition("mask", ct=False, focal=False, anatomy=False),
    Condition("ct", mask=False, focal=False, anatomy=False),
    Condition("focal", mask=False, ct=False, anatomy=False),
    Condition("mask, ct", focal=False, anatomy=False),
    Condition("mask, focal", ct=False, anatomy=False),
    Condition("mask, ct, focal", anatomy=False),
    Condition("all"),
)
"""From nothing but the PET to everything; the paper prints the first, focal alone, all but pretraining, and all."""


def condition_of_folder(folder_name: str) -> Condition:
    """The condition whose folder is so called: what a partition of the asset is. Raises ValueError for another name."""
    for condition in CONDITIONS:
        if condition.folder_name == folder_name:
            return condition
    raise ValueError(f"expected a condition among {', '.join(c.folder_name for c in CONDITIONS)}, got {folder_name!r}")


@dataclass(frozen=True)
class Point:
    """Accuracy on the held-out lesions after some minutes of training."""

    epoch: int
    """Of the findings' stage."""
    minutes: float
    """Of training alone: measuring takes none of them."""
    both: float
    """Share of lesions whose region and laterality are right, both."""
    region: float
    laterality: float


@dataclass(frozen=True)
class ConditionResult:
    """What a condition reached on held-out patients."""

    name: str
    n: int
    """Held-out lesions."""
    chance: float
    """What the most frequent answer of the training split, given always, would reach."""
    curve: tuple[Point, ...]
    """As it learnt, over the stages; the last one is the finished model's."""
    checkpoint: Path
    reused: bool = False

    @property
    def accuracy(self) -> float:
        """Share of lesions whose text has region and laterality right, both."""
        return self.curve[-1].both

    @property
    def minutes(self) -> float:
        """Minutes of training, all stages."""
        return self.curve[-1].minutes


def fields_right(text: str | None, reference: str, fields: Sequence[str] = ("region", "laterality")) -> bool:
    """Whether a text names the same values as the reference in all fields; a field that neither has is right."""
    found, expected = parse(text or ""), parse(reference)
    return all(found.get(f, "").lower() == expected.get(f, "").lower() for f in fields)


def ablation_folder(home: Home) -> Path:
    """Where the conditions of the ablation lie, one folder each."""
    return home.checkpoints / "ablation"


def write_condition(folder: Path, result: ConditionResult, identity: str) -> None:
    """Writes what a condition reached beside its checkpoints; `identity` says from what."""
    stored = {**asdict(result), "checkpoint": str(result.checkpoint), "identity": identity}
    atomic.write_bytes(folder / RESULT_NAME, json.dumps(stored, indent=1).encode())


def read_condition(folder: Path, identity: str | None = None) -> ConditionResult | None:
    """What `write_condition` wrote; None where there is nothing, or (with `identity`) something of another one."""
    path = folder / RESULT_NAME
    if not path.is_file():
        return None
    stored = json.loads(path.read_text())
    known = stored.pop("identity")
    if identity is not None and known != identity:
        return None
    curve = tuple(Point(**point) for point in stored.pop("curve"))
    return ConditionResult(**{**stored, "curve": curve, "checkpoint": Path(stored["checkpoint"]), "reused": True})


def read_ablation(home: Home) -> list[ConditionResult]:
    """The conditions that were trained, in the order of the ablation."""
    found = (read_condition(ablation_folder(home) / condition.folder_name) for condition in CONDITIONS)
    return [result for result in found if result is not None]


def ablation_table(results: Sequence[ConditionResult]) -> str:
    """The conditions as a Markdown table: switches, accuracies, minutes."""
    switches = {condition.name: condition for condition in CONDITIONS}
    lines = [
        "| mask | CT | focal | anatomy | region and side | region | side | lesions | chance | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        condition, last = switches[result.name], result.curve[-1]
        marks = " | ".join(
            "yes" if on else "" for on in (condition.mask, condition.ct, condition.focal, condition.anatomy)
        )
        lines.append(
            f"| {marks} | {last.both:.1%} | {last.region:.1%} | {last.laterality:.1%} | {result.n} | "
            f"{result.chance:.1%} | {last.minutes:.1f} |"
        )
    return "\n".join(lines)
