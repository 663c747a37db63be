"""Whether values can be SUV: of the body, and of the hottest and coldest voxels, whichever file they come from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume
from pipelines.tables.exam_problems import ExamProblem

SAMPLES_AN_AXIS = 32
BODY_PART = 0.1
"""Of the level above which half of all activity lies: tissue and lungs are above it, the air around is not."""
BODY_SUV = (0.3, 3.0)
"""Median SUV of the body's voxels. All activity over the whole body is 1 on average, less what is excreted."""
SHORTEST_TRUNK_MM = 300.0
"""A PET at least this long shows some of the trunk; of a shorter one (a brain, one bed position, the surroundings of a
tumour) any median can be right."""
ACTIVITY_ABOVE = 60.0
"""Median of the body from which an image can only be activity: no body averages an SUV of 60."""
HOTTEST_PART, HOTTEST_SUV = 99.0, 1000.0
"""Where the air around the body is not quite zero it is most of the image; then activity shows in that it is above
ACTIVITY_ABOVE in the hottest hundredth and above HOTTEST_SUV somewhere."""
LOWEST_MEDIAN_SUV, LOWEST_HUNDREDTH_SUV = -0.1, -2.0
LOWEST_SUV, LOWEST_PART = -0.5, -0.1
"""Filtered backprojection and cubic resampling undershoot: noise about zero in the air, rings beside the bladder. An
image that lies below zero as a whole, or further than LOWEST_SUV and than this part of its highest value, is none."""
TOLD_BELOW_SUV = -0.05
HEAVIEST_G = 600_000.0
"""No voxel holds more than the whole dose: its SUV times its mL is at most the patient's weight in g."""

STEPS_RATIO, FEWEST_ACROSS, SLICES_SAMPLED = 4.0, 16, 16
"""Ratio of the mean steps per mm between neighbours along the two axes of a slice, from which one of them does not
follow the body: 0.8 to 1.2 in real images, 9 where rows and columns are wrong."""


@dataclass(frozen=True)
class Values:
    """What is known of the values of an image: extremes, median of the positive voxels, median of the body (0 where
    there is none), and the hottest hundredth of the positive voxels."""

    lowest: float
    highest: float
    positive_median: float
    body_median: float
    hottest: float

    def scaled(self, factor: float) -> "Values":
        """The same of an image that is `factor` times this one."""
        return Values(
            factor * self.lowest,
            factor * self.highest,
            factor * self.positive_median,
            factor * self.body_median,
            factor * self.hottest,
        )

    @property
    def is_activity(self) -> bool:
        """Whether the image can only be activity, not SUV."""
        return self.positive_median > ACTIVITY_ABOVE or (self.hottest > ACTIVITY_ABOVE and self.highest > HOTTEST_SUV)

    @property
    def is_of_a_body(self) -> bool:
        """Whether the body's median is that of SUV."""
        return BODY_SUV[0] <= self.body_median <= BODY_SUV[1]


def body_of(array: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Voxels of the body: above a tenth of the level above which half of all activity lies, whatever the unit."""
    positive = np.sort(array[array > 0], axis=None)
    if not positive.size:
        return np.zeros(array.shape, dtype=bool)
    total = np.cumsum(positive, dtype=np.float64)
    level = positive[np.searchsorted(total, total[-1] / 2)]
    return np.asarray(array > BODY_PART * level)


def values_of_image(volume: Volume) -> Values:
    """What is known of an image's values.

    Raises:
        ExamError(BAD_VALUES): voxels are NaN or infinite, or none is above zero.
    """
    array = volume.array
    lowest, highest = float(array.min()), float(array.max())  # NaN shows up in both
    if not np.isfinite(lowest) or not np.isfinite(highest):
        bad = int(array.size - np.isfinite(array).sum())
        raise ExamError(
            ExamProblem.BAD_VALUES, f"expected finite SUV, {bad} voxels are NaN or infinite: convert the PET again"
        )
    if highest <= 0:
        raise ExamError(ExamProblem.BAD_VALUES, "expected uptake, the PET is empty (all zero): convert it again")
    sample = sample_of(array)
    positive, body = sample[sample > 0], sample[body_of(sample)]
    middle, hottest = np.percentile(positive, (50.0, HOTTEST_PART)) if positive.size else (0.0, 0.0)
    return Values(lowest, highest, float(middle), float(np.median(body)) if body.size else 0.0, float(hottest))


def sample_of(array: NDArray[np.floating]) -> NDArray[np.floating]:
    """Every so many voxels along each axis, at most 2 * SAMPLES_AN_AXIS of them."""
    return array[tuple(slice(None, None, max(1, n // SAMPLES_AN_AXIS)) for n in array.shape)]


def lowest_suv(highest: float) -> float:
    """The lowest SUV that noise and resampling leave in an image with this highest one."""
    return min(LOWEST_SUV, LOWEST_PART * highest)


def check_not_negative(volume: Volume, values: Values) -> str:
    """A note on voxels below zero, or ''. Raises ExamError(BAD_VALUES) where the image lies below zero as a whole."""
    if values.lowest >= TOLD_BELOW_SUV:
        return ""
    middle, hundredth = np.percentile(sample_of(volume.array), (50.0, 1.0))
    too_low = values.lowest < lowest_suv(values.highest)
    if middle < LOWEST_MEDIAN_SUV or hundredth < LOWEST_HUNDREDTH_SUV or too_low:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected SUV of 0 or more, the lowest is {values.lowest:.2f}, the median {middle:.2f}: convert the PET"
            " again, in SUV and without interpolation, or give the iterative reconstruction",
        )
    return f"SUV down to {values.lowest:.2f}"


def note_on_highest(volume: Volume, values: Values) -> str:
    """A note where a voxel is hotter than any tissue, or none is as warm as a body, or ''. Raises ExamError(BAD_VALUES)
    where it would hold more than the whole dose."""
    if values.highest * volume.voxel_ml > HEAVIEST_G:
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"a voxel has an SUV of {values.highest:.3g}, more than the whole dose in it would give: convert the"
            " PET again",
        )
    if values.highest < BODY_SUV[0]:
        return (
            f"the hottest voxel has an SUV of {values.highest:.2g}, less than any body: check the unit, dose, weight"
            " and times of the exam"
        )
    return f"the hottest voxel has an SUV of {values.highest:.0f}: check it" if values.highest > HOTTEST_SUV else ""


def note_on_rows(volume: Volume) -> str:
    """A note where rows of a slice do not continue one another, as where their length is wrong (the image is sheared,
    and has as many pixels as it should), or ''."""
    if min(volume.shape[:2]) < FEWEST_ACROSS:
        return ""
    slices = volume.array[:, :, :: max(1, volume.shape[2] // SLICES_SAMPLED)]
    steps = [float(np.abs(np.diff(slices, axis=n)).mean()) / volume.spacing_mm[n] for n in (0, 1)]
    if min(steps) <= 0 or max(steps) < STEPS_RATIO * min(steps):
        return ""
    return (
        "rows of the image do not continue one another: check Rows (0028,0010) and Columns (0028,0011), the image may"
        " be sheared"
    )


def note_on_body(volume: Volume, values: Values) -> str:
    """A note where the body's median is none of SUV, or ''; of a PET of a part of the body nothing is said."""
    if volume.shape[2] * volume.spacing_mm[2] < SHORTEST_TRUNK_MM or values.is_of_a_body:
        return ""
    return (
        f"the body has a median SUV of {values.body_median:.2g}, expected {BODY_SUV[0]:g} to {BODY_SUV[1]:g}:"
        " check dose, weight and times of the exam"
    )
