"""Files of likelihoods: one an exam, and of each shard the sums over its scanners, with scales as they are and relative
to each that the headers predict."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import polars as pl

from pipelines.imaging.lesions.calibration import UNIT, Likelihood, no_likelihood, relative_to
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home


def exam_file(home: Home, exam_id: str) -> Path:
    """Likelihood of an exam."""
    return home.volume_folder(exam_id) / "likelihood.npz"


def shard_file(home: Home, shard: int) -> Path:
    """Sums of a shard."""
    return home.likelihoods / f"{shard:02d}.npz"


def save(likelihoods: Mapping[str, Likelihood], key: str, path: Path) -> None:
    """Writes likelihoods by name, with the key of what they were made from."""
    arrays: dict[str, Any] = {"key": np.array(key), "names": np.array(list(likelihoods), dtype=np.str_)}
    for n, one in enumerate(likelihoods.values()):
        arrays |= {f"llr{n}": one.llr, f"support{n}": one.support}
        arrays[f"counts{n}"] = np.array([one.n_findings, one.with_slice])
    with atomic.replacing(path) as temp, temp.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path, key: str | None = None) -> dict[str, Likelihood] | None:
    """The likelihoods in a file; null where there is none or it was made from something else than `key`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if key is not None and str(file["key"]) != key:
                return None
            return {
                str(name): Likelihood(
                    file[f"llr{n}"], file[f"support{n}"], int(file[f"counts{n}"][0]), bool(file[f"counts{n}"][1])
                )
                for n, name in enumerate(file["names"])
            }
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def update_shard_sums(home: Home, shard: int, peaks: pl.DataFrame) -> None:
    """Brings the sums of a shard up to date with its rows of `peaks`."""
    used = peaks.filter(pl.col("likelihood_version").is_not_null() & (pl.col("n_findings") > 0)).sort("exam_id")
    key = hash_of(used.select("exam_id", "scanner", "likelihood_version", "predicted_scales").rows())
    path = shard_file(home, shard)
    if load(home.file(path), key) is not None:
        return
    sums: dict[str, Likelihood] = {}
    for row in used.iter_rows(named=True):
        found = load(home.file(exam_file(home, row["exam_id"])))
        if found is not None:
            one = found["exam"]
            scales = {UNIT: 1.0, **json.loads(row["predicted_scales"] or "{}")}
            for name, scale in scales.items():
                own = sum_name(row["scanner"], name)
                shifted = one if name == UNIT else relative_to(one, scale)
                sums[own] = sums.get(own, no_likelihood(one.llr.shape[1])) + shifted
    save(sums, key, path)
    home.keep(path)


def sum_name(scanner: str, predicted: str) -> str:
    """Name of the sum over the exams of a scanner with their scales relative to a predicted one."""
    return scanner if predicted == UNIT else f"{scanner}\n{predicted}"


def scanner_of(exam: Mapping[str, Any]) -> str:
    """What tells exams of one scanner from others: manufacturer and model, and where these are unknown how its PET is
    stored and its voxels."""
    if exam["scanner"]:
        return str(exam["scanner"])
    size = " x ".join(f"{exam[f'spacing_{axis}_mm']:.2f}" for axis in "ijk")
    return re.sub(r"\s+", " ", f"{exam['source']}, {exam['units']}, {size} mm")
