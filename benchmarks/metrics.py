"""The metrics at the paper's size: 1,175 pairs of texts, every metric that needs no weights, 1,000 resamples.

python -m benchmarks.metrics [--pairs 1175] [--resamples 1000]

Prints seconds a metric and in all, and exits 1 where all of them take over 60 s.
"""

import time

import numpy as np
import polars as pl
import typer

from model.evaluation.metrics import METRICS, score
from pipelines.dataset.samples import compose
from pipelines.settings import ScoreSettings
from pipelines.tables import schemas

GOAL_S = 60.0
_ORGANS = {"lung": "chest", "liver": "abdomen", "lymph node": "chest", "bone": "pelvis", "thyroid": "head and neck"}
_WORDS = (  # noqa: SIM905
    "hypermetabolic avid intense focal new enlarging nodule mass lesion uptake lobe node segment with in the of and is "
    "upper lower anterior posterior compatible metastasis malignancy previously stable decreased measuring"
).split(" ")


def predictions(n: int, seed: int = 0) -> pl.DataFrame:
    """Rows of `predictions`: structured texts of about 40 words, half of whose words are the reference's."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        texts = []
        words = rng.choice(_WORDS, 30)
        for changed in (0.0, 0.5):
            organ = str(rng.choice(list(_ORGANS)))
            said = np.where(rng.random(30) < changed, rng.choice(_WORDS, 30), words)
            place = {"region": _ORGANS[organ], "organ": organ, "laterality": str(rng.choice(["left", "right"]))}
            numbers = {"suvmax": float(rng.gamma(3, 3)), "slice": int(rng.integers(1, 300))}
            texts.append(compose(place | numbers | {"findings": " ".join(said)}))
        row = {
            "finding_id": f"E{i}:a",
            "exam_id": f"E{i // 3}",
            "patient_id": f"P{i // 4}",
            "split": "test",
            "model": "m",
        }
        rows.append(row | {"reference": texts[0], "text": texts[1]})
    return schemas.frame("predictions", rows)


def main(pairs: int = 1175, resamples: int = 1000) -> None:
    """Prints seconds a metric and in all; exits 1 where the goal is missed."""
    frame, settings = predictions(pairs), ScoreSettings(n_resamples=resamples)
    total = 0.0
    for name in METRICS:
        start = time.perf_counter()
        row = score(frame, [name], settings).row(0, named=True)
        seconds = time.perf_counter() - start
        total += seconds
        value = "not computed" if row["value"] is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        print(f"{name:<22} {seconds:8.2f} s  {value}")
    print(f"{'all':<22} {total:8.2f} s  (goal {GOAL_S:g}, {pairs} pairs, {resamples} resamples)")
    if total > GOAL_S:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
