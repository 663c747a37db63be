"""Figure of a training stage: what it logged step by step. No torch."""

from collections.abc import Mapping, Sequence

from pipelines.imaging.figure_base import SECOND, new_figure, plain_axes, png_bytes

_PANELS = (
    ("loss", "loss (nats a token)"),
    ("learning_rate", "learning rate"),
    ("grad_norm", "gradient norm"),
    ("samples_per_s", "samples/s"),
    ("gpu_memory_gb", "GPU memory (GB)"),
)


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
        plain_axes(ax, "step", label)
    return png_bytes(figure)
