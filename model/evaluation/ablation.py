"""The paper's ablation in miniature: what a model learns with and without mask, CT, focal crop and anatomy
pretraining.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import polars as pl

from model.evaluation.ablation_arms import (
    Arm,
    ArmResult,
    Point,
    ablation_folder,
    arm_named,
    fields_right,
    read_arm,
    write_arm,
)
from model.petar.architecture import Petar
from model.petar.checkpoints import Checkpoint, Contract, LoadReport
from model.petar.config import ModelConfig, TrainingSettings, preset, training_settings
from model.petar.tokenizer import PetarTokenizer
from model.serving.generation import generate
from model.training.request import Hooks, StageRequest, StageSamples
from model.training.samples import data_hash
from model.training.train import train_stage
from pipelines.dataset.samples import compose
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

ABLATION_VERSION = "2"
"""Raised when the same samples and settings would give other figures."""

_FIELDS = ("region", "organ", "subsite", "laterality")
_PROGRESS = "curve.json"

OnMeasure = Callable[[Point], None]


def with_short_targets(findings: pl.DataFrame) -> pl.DataFrame:
    """The samples with targets of region, organ, sub-site and side alone; those without a region are left out."""
    known = findings.filter(pl.col("region").is_not_null())
    texts = [compose(row) for row in known.select(_FIELDS).iter_rows(named=True)]
    return known.with_columns(pl.Series("target", texts, dtype=pl.String))


def balanced(findings: pl.DataFrame, most_per_group: float = 1.5) -> pl.DataFrame:
    """The samples with no region and side much more frequent than others, in every split.

    A group of equal region and laterality keeps at most `most_per_group` times the split's mean group, chosen by a hash
    of the sample id. Else a model that sees nothing scores by saying what is most frequent.
    """
    group = ["split", "region", "laterality"]
    sizes = findings.group_by(group).len().group_by("split").agg(pl.col("len").mean().alias("_mean"))
    order = pl.col("sample_id").map_elements(lambda sample_id: hash_of(sample_id), return_dtype=pl.String)
    ranked = findings.join(sizes, on="split").with_columns(order.rank("ordinal").over(group).alias("_rank"))
    kept = ranked.filter(pl.col("_rank") <= (pl.col("_mean") * most_per_group).ceil())
    return kept.select(findings.columns).sort("sample_id")


_TINY_EPOCH = 1600
_TINY_ANATOMY_SEES = 41_600
_TINY_FINDINGS_SEES, _TINY_EPOCHS = 11_520, 11
"""What region and side take `tiny` to learn, in minutes: so many samples of organs; of lesions each so many times, and
of few lesions so many samples all the same.
"""


def ablation_settings(
    preset_name: str, n_findings: int, n_anatomy: int, effort: float = 1.0
) -> tuple[TrainingSettings, TrainingSettings]:
    """(anatomy, findings) settings of an arm's two stages for so many training samples.

    The preset's own, but that `tiny` sees as many samples of a small cohort as of a large one. `effort` is the part of
    that to train.
    """
    found = []
    for stage, n in (("anatomy_full", n_anatomy), ("findings_full", n_findings)):
        settings = training_settings(preset_name, stage)  # type: ignore[arg-type]  # both are stages
        epochs: float = settings.epochs
        if preset_name == "tiny" and stage == "anatomy_full":
            epochs = _TINY_ANATOMY_SEES / max(1, min(n, _TINY_EPOCH))
            settings = replace(settings, samples_per_epoch=_TINY_EPOCH)
        elif preset_name == "tiny":
            epochs = max(_TINY_EPOCHS, _TINY_FINDINGS_SEES / max(1, n))
            settings = replace(settings, samples_per_epoch=0)
        found.append(replace(settings, epochs=max(1, round(epochs * effort))))
    return found[0], found[1]


def update_arm(
    home: Home,
    name: str,
    preset_name: str = "tiny",
    *,
    effort: float = 1.0,
    whole_texts: bool = False,
    reuse: bool = True,
    on_measure: OnMeasure | None = None,
) -> ArmResult:
    """An arm trained and measured on the lake's samples, below checkpoints/ablation; as it is where nothing changed.

    With `whole_texts` it learns the findings as they are, so that its texts can be scored beside other models';
    without, the fields alone of a balanced draw, which shows sooner what it sees.
    Raises ValueError for an unknown arm or a lake without held-out lesions, TrainingError as `train_stage` does.
    """
    arm = arm_named(name)
    samples = Lake(home.lake).read_table("samples")
    findings = samples.filter(pl.col("kind") == "finding")
    if not whole_texts:
        findings = balanced(with_short_targets(findings))
    anatomy = samples.filter(pl.col("kind") == "anatomy")
    n_findings, n_anatomy = (t.filter(pl.col("split") == "train").height for t in (findings, anatomy))
    first, second = ablation_settings(preset_name, n_findings, n_anatomy, effort)
    return run_arm(
        arm,
        findings,
        anatomy,
        preset(preset_name),
        second,
        home,
        ablation_folder(home) / arm.folder_name,
        anatomy_settings=first if n_anatomy else None,
        measure_epochs=max(1, second.epochs // 6),
        reuse=reuse,
        on_measure=on_measure,
    )


def run_arm(
    arm: Arm,
    findings: pl.DataFrame,
    anatomy: pl.DataFrame,
    config: ModelConfig,
    settings: TrainingSettings,
    home: Home,
    out_dir: Path,
    *,
    anatomy_settings: TrainingSettings | None = None,
    measure_epochs: int = 5,
    reuse: bool = True,
    on_measure: OnMeasure | None = None,
) -> ArmResult:
    """Trains an arm from nothing and measures it on the samples of the split `test`.

    Anatomy pretraining is one stage that trains everything (`anatomy_settings`; without them, or without the arm's
    switch, there is none), then the findings' full stage follows. Every `measure_epochs` epochs of that the held-out
    lesions are described and counted; the time that takes is not on the clock. A killed run goes on where it was, an
    equal one that ended is returned as it is.
    """
    own = arm.applied_to(config)
    parts = {s: findings.filter(pl.col("split") == s) for s in ("train", "val", "test")}
    if parts["test"].is_empty():
        raise ValueError("expected findings of held-out patients (split test), got none: take a larger cohort")
    pretrained = arm.anatomy and anatomy_settings is not None
    identity = hash_of(
        ABLATION_VERSION,
        asdict(arm),
        own.to_dict(),
        settings.to_dict(),
        anatomy_settings.to_dict() if pretrained and anatomy_settings else None,
        data_hash(findings, home),
        data_hash(anatomy, home) if pretrained else None,
        measure_epochs,
    )
    if reuse and (done := read_arm(out_dir, identity)):
        return done
    init, before = None, 0.0
    if pretrained and anatomy_settings is not None:
        texts = tuple(parts["train"]["target"].unique(maintain_order=True))
        organs = StageSamples.of(anatomy, home, texts=texts)
        first = train_stage(StageRequest("anatomy_full", organs, own, anatomy_settings, out_dir / "anatomy"))
        init, before = first.checkpoint, first.seconds
    curve = _stored_curve(out_dir, identity)
    seconds = 0.0

    def note(entry: Mapping[str, float]) -> None:
        nonlocal seconds
        seconds = entry["seconds"]

    def measure(model: Petar, tokenizer: PetarTokenizer, epoch: int) -> None:
        if epoch % measure_epochs and epoch != settings.epochs:
            return
        as_is = Checkpoint(model, tokenizer, Contract(own), LoadReport((), (), ()), out_dir)
        add(measured(parts["test"], as_is, home, epoch, (before + seconds) / 60))

    def add(point: Point) -> None:
        curve[:] = [p for p in curve if p.epoch < point.epoch] + [point]
        stored = {"identity": identity, "curve": [asdict(p) for p in curve]}
        atomic.write_bytes(out_dir / _PROGRESS, json.dumps(stored).encode())
        if on_measure is not None:
            on_measure(point)

    lesions = StageSamples.of(findings, home)
    request = StageRequest("findings_full", lesions, own, settings, out_dir / "findings", init)
    result = train_stage(request, Hooks(note, measure))
    last = int(result.curve[-1]["epoch"])
    if not curve or curve[-1].epoch < last:
        # Stopped early, or killed between the last step and its measure.
        add(measured(parts["test"], result.checkpoint, home, last, (before + result.seconds) / 60))
    arm_result = ArmResult(
        arm.name, len(parts["test"]), _chance(parts["train"], parts["test"]), tuple(curve), result.checkpoint
    )
    write_arm(out_dir, arm_result, identity)
    return arm_result


def measured(test: pl.DataFrame, checkpoint: Path | Checkpoint, home: Home, epoch: int, minutes: float) -> Point:
    """How many of some lesions a model says right, after so many epochs and minutes."""
    said = generate(test, checkpoint, home, batch_size=32, max_new_tokens=64)
    pairs = said.select("text", "reference").rows()

    def share(*fields: str) -> float:
        return sum(fields_right(text, reference, fields) for text, reference in pairs) / len(pairs)

    return Point(epoch, minutes, share("region", "laterality"), share("region"), share("laterality"))


def _stored_curve(out_dir: Path, identity: str) -> list[Point]:
    path = out_dir / _PROGRESS
    stored = json.loads(path.read_text()) if path.is_file() else {}
    return [Point(**point) for point in stored["curve"]] if stored.get("identity") == identity else []


def _chance(train: pl.DataFrame, test: pl.DataFrame) -> float:
    answers = train.select("region", "laterality").rows()
    most = Counter(answers).most_common(1)[0][0] if answers else None
    return sum(row == most for row in test.select("region", "laterality").iter_rows()) / len(test)
