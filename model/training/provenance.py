"""Check that a checkpoint was trained on the samples as they are now."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from pipelines.catalog.versions import ProvenanceError
from pipelines.tables.home import Home

_KINDS: Mapping[str, tuple[str, ...]] = {"anatomy": ("anatomy",), "findings": ("finding", "proposal")}


def sample_kinds(stage: str) -> tuple[str, ...]:
    """The values of `samples.kind` that a training stage is trained on."""
    return _KINDS[stage.partition("_")[0]]


def check_provenance(checkpoint: Path, samples: pl.DataFrame, home: Home, *, allow: bool = False) -> list[str]:
    """What of a checkpoint's training does not fit the samples as they are now, in words; nothing where all of it does.

    Every stage of its lineage must have seen exactly the training split of these samples, by content and not by name:
    else held-out lesions may have been trained on, and a stage would go on from another curation than its own. A
    checkpoint without lineage (public weights) fits everything.

    Raises:
        ProvenanceError: it does not fit, and `allow` is false.
        CheckpointError: there is no checkpoint, or it can not be read.
    """
    # Not at module level: with them comes torch.
    from model.petar.checkpoints import read_contract
    from model.training.samples import data_hash

    lineage = read_contract(checkpoint).lineage
    train = samples.filter(pl.col("split") == "train")
    hashes: dict[tuple[str, ...], str] = {}
    found = []
    for record in lineage:
        kinds = sample_kinds(record.stage)
        if kinds not in hashes:
            hashes[kinds] = data_hash(train.filter(pl.col("kind").is_in(kinds)), home)
        if hashes[kinds] != record.data:
            of = f" of curation {record.curation[:12]}" if record.curation else ""
            found.append(f"{record.stage} saw {record.n_samples} training samples{of} (data {record.data})")
    if found and not allow:
        now = ", ".join(f"{kinds[0]} {value}" for kinds, value in hashes.items())
        raise ProvenanceError(
            f"expected a checkpoint made for the samples as they are now (data {now}), got {checkpoint}, of which "
            f"{'; '.join(found)}: train its stages again (make train), or allow other samples "
            "(allow_other_samples = true) where you mean it"
        )
    return found
