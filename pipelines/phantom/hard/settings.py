"""What hard exams are drawn with, and the workstation whose numbers their reports give."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

TRACERS = ("FDG", "DCFPyL", "DOTATATE")


@dataclass(frozen=True)
class Workstation:
    """How the numbers of a report come from the image.

    Args:
        scale: SUV shown over SUV of the image, ratio (0.75: about that of SUL to SUV).
        slice_offset: Slices added to each slice number.
        origin: Slice 1 is at the head or at the feet.
        jitter: Relative standard deviation of each SUV, beside the scale, ratio.
        step: SUV are shown in multiples of it (0.1; 1 gives whole numbers).
        is_cut: Digits are cut off and not rounded.
    """

    scale: float = 1.0
    slice_offset: int = 0
    origin: Literal["head", "feet"] = "head"
    jitter: float = 0.0
    step: float = 0.1
    is_cut: bool = False

    def __post_init__(self) -> None:
        if not (0.2 <= self.scale <= 5 and 0 <= self.jitter <= 0.2 and 0 < self.step <= 1):
            raise ValueError(
                f"expected a scale of 0.2 to 5, a jitter of 0 to 0.2 and a step of at most 1, got {self.scale:g}, "
                f"{self.jitter:g} and {self.step:g}"
            )

    def shown_suv(self, suv: float, rng: np.random.Generator) -> float:
        """What the workstation shows for an SUV of the image."""
        value = suv * self.scale * (1 + self.jitter * float(rng.standard_normal())) / self.step
        whole = np.floor(value) if self.is_cut else np.floor(value + 0.5)
        return round(float(whole) * self.step, 3)

    def shown_slice(self, k: int, n_k: int) -> int:
        """The number of slice `k` (0 at the feet) of `n_k`."""
        return (n_k - k if self.origin == "head" else k + 1) + self.slice_offset


@dataclass(frozen=True)
class HardSettings:
    """What hard exams are drawn with.

    Args:
        evidence: What a report gives of a lesion: slice and SUV ("slices"), SUV with organ and side ("suv"), or either
            of them, a slice alone and a place alone in turn ("mixed").
        workstation: Whose numbers the reports give.
        spacing_mm: Voxel edge; None: one of the usual grids, drawn for each exam.
        tracers: Drawn from for each exam.
        organ_maps: Share of exams with a label map of the organs.
    """

    evidence: Literal["slices", "suv", "mixed"] = "slices"
    workstation: Workstation = field(default_factory=Workstation)
    spacing_mm: float | None = None
    tracers: tuple[str, ...] = TRACERS
    organ_maps: float = 0.5

    def __post_init__(self) -> None:
        if self.evidence not in ("slices", "suv", "mixed"):
            raise ValueError(f"expected the evidence slices, suv or mixed, got {self.evidence!r}")
        if not self.tracers or set(self.tracers) - set(TRACERS):
            raise ValueError(f"expected tracers of {', '.join(TRACERS)}, got {', '.join(self.tracers) or 'none'}")
        if self.spacing_mm is not None and not 1.5 <= self.spacing_mm <= 8:
            raise ValueError(f"expected voxels of 1.5 to 8 mm, got {self.spacing_mm:g}")
        if not 0 <= self.organ_maps <= 1:
            raise ValueError(f"expected a share of label maps of 0 to 1, got {self.organ_maps:g}")
