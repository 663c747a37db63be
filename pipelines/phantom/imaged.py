"""Lesions as they came out in an image, and what must become of the claims of a report."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.phantom import wording
from pipelines.phantom.tumours import Box, Peak, Tumour


@dataclass(frozen=True)
class Imaged:
    """A lesion (or a physiologic peak) as it came out in the image. `mask` lies in `box` of the PET grid."""

    lesion_id: str
    tumour: Tumour | None
    box: Box
    mask: NDArray[np.bool_]
    peak: Peak
    slice_k: int
    suvmax_reported: float
    size_mm: tuple[float, float]


@dataclass(frozen=True)
class Truth:
    """One claim of a report and what must become of it."""

    claim: wording.Claim
    sentence: str
    imaged: Imaged | None
    comparison: str
