"""How scores and their intervals are made, and why a metric can not be."""

from pipelines.evaluation import ScoreSettings

__all__ = ["NotComputableError", "ScoreSettings"]


class NotComputableError(RuntimeError):
    """Why a metric can not be computed here: which weights, package or data are missing, and how to give them."""
