"""Figure of the ablation: what each condition learnt by the minute. No torch."""

from collections.abc import Sequence

import numpy as np

from model.evaluation.ablation.conditions import CONDITIONS, ConditionResult
from pipelines.imaging.figure_base import INK, MUTED, new_figure, plain_axes, png_bytes

_COLOURS = ("#8a8f98", "#b07aa1", "#e0a12f", "#59a14f", "#4e79a7", "#e15759", "#76b7b2", "#0b6fa4")
TARGET = 0.95


def ablation_figure(results: Sequence[ConditionResult]) -> bytes:
    """PNG of the accuracy on held-out lesions against minutes of training, one line a condition.

    The dashed line is what saying the most frequent region and side would reach.
    """
    figure = new_figure(7.6, 4.2, layout="constrained")
    ax = figure.add_subplot()
    order = [condition.name for condition in CONDITIONS]
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
    plain_axes(ax, "minutes of training", "region and side right (%)")
    return png_bytes(figure)


def _label(result: ConditionResult) -> str:
    return f"{result.name}: {100 * result.accuracy:.0f} %"
