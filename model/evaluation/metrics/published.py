"""The paper's scores on its own test set (arXiv 2510.27680 v2), to stand beside computed ones, marked as published."""

import polars as pl

from model.evaluation.metrics.pairs import ALL_LESIONS
from pipelines.tables import schemas

PUBLISHED_SPLIT = "PETARSeg-11K test"
PUBLISHED_N = 1175
PUBLISHED_METRICS = ("BLEU", "ROUGE-L", "METEOR", "CIDEr", "BERTScore", "BARTScore", "RaTEScore", "GREEN")
_ROWS = {
    "MedGemma-4B, finetuned": (0.495, 0.454, 0.510, 0.119, 0.754, -4.36, 0.613, 0.086),
    "Qwen3-VL-8B, finetuned": (0.484, 0.443, 0.501, 0.086, 0.750, -4.40, 0.608, 0.060),
    "M3D-RAD, finetuned": (0.485, 0.446, 0.501, 0.132, 0.750, -4.34, 0.627, 0.071),
    "Reg2RG, finetuned": (0.478, 0.416, 0.487, 0.055, 0.732, -4.58, 0.532, 0.031),
    "PETAR-4B": (0.535, 0.524, 0.560, 0.457, 0.795, -4.00, 0.713, 0.257),
}


def published_scores() -> pl.DataFrame:
    """Rows of `scores` with status `published`: five models, eight metrics; no intervals, for the paper gives none.

    Their numbers are those that the models wrote.
    """
    rows = [
        {
            "model": f"{model} (paper)",
            "split": PUBLISHED_SPLIT,
            "metric": metric,
            "numbers": "raw",
            "subset": ALL_LESIONS,
            "value": value,
            "n": PUBLISHED_N,
            "cohort": "PETARSeg-11K",
            "status": "published",
            "note": "arXiv 2510.27680 v2: another test set, variants of the metrics unknown",
        }
        for model, values in _ROWS.items()
        for metric, value in zip(PUBLISHED_METRICS, values, strict=True)
    ]
    return schemas.frame("scores", rows)
