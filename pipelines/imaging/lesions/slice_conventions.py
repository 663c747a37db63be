"""How a cohort's reports count slices and print SUVs, from the likelihood of all its findings: a table, a figure, and
what to write into petar.toml."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.imaging.figure_base import new_figure, png_bytes
from pipelines.imaging.lesions.calibration import LN_SCALES, OFFSETS, READING_PRIOR, Likelihood
from pipelines.settings import SliceConvention


@dataclass(frozen=True)
class ConventionScore:
    """How well a way of counting slices explains the findings of a cohort: the best log likelihood ratio against chance
    with its scale and offset, and how many findings agree with these."""

    convention: SliceConvention
    slice_offset: int
    suv_scale: float
    llr: float
    support: int


ENOUGH_NATS = 2.0
"""How far another way of counting must be ahead to be told [nats]."""


def score_conventions(likelihood: Likelihood, conventions: Sequence[SliceConvention]) -> list[ConventionScore]:
    """The score of each convention, the best first; equal scores keep their order."""
    llr = likelihood.llr + np.log(READING_PRIOR / READING_PRIOR.sum())[:, None, None, None]
    scores = []
    for c, convention in enumerate(conventions):
        best = llr[:, c]
        # Of equal ones the nearest to scale 1 and offset 0.
        distance = np.abs(LN_SCALES)[:, None] + 0.01 * np.abs(OFFSETS)
        r, s, d = np.unravel_index(int((best - 1e-3 * distance).argmax()), best.shape)
        scores.append(
            ConventionScore(
                convention,
                int(OFFSETS[d]),
                round(float(np.exp(LN_SCALES[s])), 3),
                float(best[r, s, d]),
                int(likelihood.support[r, c, s, d]),
            )
        )
    return sorted(scores, key=lambda s: -s.llr)


def advice_of(scores: Sequence[ConventionScore], used: SliceConvention) -> str | None:
    """What to write into petar.toml where slices are counted in another way than the settings say; null where they
    are not, or too little tells."""
    best = scores[0]
    in_use = next(s for s in scores if s.convention == used)
    if best.convention == used and best.slice_offset == 0:
        return None
    if best.convention != used and best.llr < in_use.llr + ENOUGH_NATS:
        return None
    said = (
        f"{best.support} findings agree on slices that are counted from the {best.convention.origin.value}"
        f" ({best.convention.grid.value}), {best.slice_offset:+d}"
    )
    base = _base(best, used)
    if base is not None:
        return (
            f'{said}; write\n[lesions.convention]\norigin = "{best.convention.origin.value}"\nbase = {base}\n'
            f'grid = "{best.convention.grid.value}"'
        )
    return f"{said}; write\n[lesions.calibration]\nslice_offset = {best.slice_offset}"


def _base(best: ConventionScore, used: SliceConvention) -> int | None:
    """Number of the first slice that stands for an offset; null where no convention does."""
    base = used.base + best.slice_offset
    return base if base in (0, 1) else None


def likelihood_figure(likelihood: Likelihood, conventions: Sequence[SliceConvention]) -> bytes:
    """PNG of the log likelihood ratio over scale and offset, one panel a way of counting."""
    grids = likelihood.llr.max(axis=0)
    figure = new_figure(3.2 * len(conventions), 3.4, layout="constrained")
    axes = [figure.add_subplot(1, len(conventions), n + 1) for n in range(len(conventions))]
    top = float(max(grids.max(), 1.0))
    for axis, grid, convention in zip(axes, grids, conventions):
        image = axis.imshow(
            np.clip(grid, -5, top),
            aspect="auto",
            origin="lower",
            extent=(OFFSETS[0] - 0.5, OFFSETS[-1] + 0.5, LN_SCALES[0], LN_SCALES[-1]),
            vmin=-5,
            vmax=top,
        )
        axis.set_title(f"from the {convention.origin.value}, {convention.grid.value}")
        axis.set_xlabel("slice offset")
        ticks = np.array([0.6, 0.75, 0.9, 1.0, 1.1, 1.3, 1.6])
        axis.set_yticks(np.log(ticks), [f"{t:g}" for t in ticks])
    axes[0].set_ylabel("reported over measured SUV")
    figure.colorbar(image, ax=axes[-1], label="log likelihood ratio [nats]")
    return png_bytes(figure)
