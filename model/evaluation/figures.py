"""Figures of training: what a stage logged step by step, and what the arms of the ablation learnt by the minute. No
torch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from model.evaluation.ablation_arms import ARMS, ArmResult
from pipelines.imaging.figure_base import INK, MUTED, SECOND, new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = (
    ("loss", "loss (nats a token)"),
    ("learning_rate", "learning rate"),
    ("grad_norm", "gradient norm"),
    ("samples_per_s", "samples/s"),
    ("gpu_memory_gb", "GPU memory (GB)"),
)
_COLOURS = ("#8a8f98", "#b07aa1", "#e0a12f", "#59a14f", "#4e79a7", "#e15759", "#76b7b2", "#0b6fa4")
TARGET = 0.95


def training_figure(curve: Sequence[Mapping[str, float]]) -> bytes:
    """PNG of a stage's log by step: loss with validation, learning rate, gradient norm, samples/s and, on a GPU, its
    memory.
    """
    panels = [(name, label) for name, label in _PANELS if any(name in entry for entry in curve)]
    figure = new_figure(2.5 * max(len(panels), 1), 2.5, layout="constrained")
    for n, (name, label) in enumerate(panels):
        ax = figure.add_subplot(1, len(panels), n + 1)
        found = [(entry["step"], entry[name]) for entry in curve if name in entry]
        ax.plot(*zip(*found, strict=True), color=SECOND, linewidth=1.1)
        if name == "loss" and (val := [(e["step"], e["val_loss"]) for e in curve if "val_loss" in e]):
            ax.plot(*zip(*val, strict=True), "o-", color="#e15759", linewidth=0.9, markersize=2.5, label="validation")
            ax.legend(fontsize=6.5, frameon=False)
        _plain(ax, "step", label)
    return png_bytes(figure)


def ablation_figure(results: Sequence[ArmResult]) -> bytes:
    """PNG of the accuracy on held-out lesions against minutes of training, a line an arm, its last point named.

    The dashed line is what saying the most frequent region and side would reach.
    """
    figure = new_figure(7.6, 4.2, layout="constrained")
    ax = figure.add_subplot()
    order = [arm.name for arm in ARMS]
    for result in results:
        colour = _COLOURS[order.index(result.name)] if result.name in order else INK
        minutes, both = [p.minutes for p in result.curve], [100 * p.both for p in result.curve]
        ax.plot(minutes, both, "o-", color=colour, linewidth=1.6, markersize=3, label=_label(result))
    if results:
        chance = 100 * float(np.mean([result.chance for result in results]))
        ax.axhline(chance, color=MUTED, linewidth=0.9, linestyle="--")
        ax.annotate("most frequent answer", (0, chance), xytext=(2, 3), textcoords="offset points", fontsize=7)
        ax.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.axhline(100 * TARGET, color="#d5d8dd", linewidth=0.9)
    ax.set_ylim(0, 101)
    ax.set_xlim(left=0)
    _plain(ax, "minutes of training", "region and side right (%)")
    return png_bytes(figure)


def _label(result: ArmResult) -> str:
    return f"{result.name}: {100 * result.accuracy:.0f} %"


def _plain(ax: "Axes", x: str, y: str) -> None:
    ax.set_xlabel(x, fontsize=8)
    ax.set_ylabel(y, fontsize=8)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
