"""A region whose threshold differs from side to side: higher where something warm lies against the lesion.

One background for the whole lesion is too low towards a heart or a colder lesion that touches: there the contour would
run down the whole flank, to where the neighbour's plateau begins.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.lesions.faces import stepped

N_DIRECTIONS = 162
STEP_MM = 1.0
SMOOTHED_DEG = 30.0


def _directions() -> NDArray[np.float64]:
    """Unit vectors (n, 3) evenly over the sphere (a Fibonacci lattice)."""
    n = np.arange(N_DIRECTIONS) + 0.5
    z = 1.0 - 2.0 * n / N_DIRECTIONS
    turn = np.pi * (1.0 + 5.0**0.5) * n
    ring = np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=-1)


DIRECTIONS = _directions()
NEAR = np.argsort(-(DIRECTIONS @ DIRECTIONS.T), axis=1)[
    :, : int((DIRECTIONS[0] @ DIRECTIONS.T > np.cos(np.radians(SMOOTHED_DEG))).sum())
].copy()
"""Directions whose values are averaged for a direction, the nearest first."""


def cut_by_sides(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    peak: tuple[int, int, int],
    spacing_mm: NDArray[np.float64],
    background: float,
    plateau: float,
    level: float,
    shell_mm: tuple[float, float],
    warm: float,
    hot: float,
) -> NDArray[np.bool_]:
    """The part of a mask (i, j, k) above the thresholds of its sides, connected to the peak.

    Seen from the middle of the mask, what lies between shell_mm beyond its surface is the background of that side.
    Where it exceeds the common background by the part `warm` of the way to the plateau, the threshold there is that
    background + level x (plateau - background); a background above `hot` of the plateau counts as that part of it.
    What is hotter than the plateau is cut off by the watershed already, and does not count.
    """
    start = np.array(peak)
    near_mm, far_mm = shell_mm
    args = (background, plateau, level, near_mm, far_mm, warm, hot)
    return np.asarray(_cut(values, mask, start, spacing_mm, *args, DIRECTIONS, NEAR))


@numba.njit(cache=True)
def _cut(values, mask, peak, spacing, background, plateau, level, near_mm, far_mm, warm, hot, directions, near):
    n_i, n_j, n_k = mask.shape
    middle = np.zeros(3)
    count = 0
    for i in range(n_i):
        for j in range(n_j):
            for k in range(n_k):
                if mask[i, j, k]:
                    middle[0] += i
                    middle[1] += j
                    middle[2] += k
                    count += 1
    middle /= count
    sides = _side_backgrounds(values, mask, middle, spacing, background, plateau, near_mm, far_mm, directions)
    thresholds = np.zeros(len(directions))
    any_warm = False
    for n in range(len(directions)):
        seen = 0.0
        for m in near[n]:
            seen += sides[m]
        seen = min(seen / near.shape[1], hot * plateau)
        if seen > background + warm * (plateau - background):
            thresholds[n] = seen + level * (plateau - seen)
            any_warm = True
    if not any_warm:
        return mask
    kept = np.zeros(mask.shape, np.bool_)
    stack = np.empty((count, 3), np.int32)
    stack[0, 0], stack[0, 1], stack[0, 2] = peak[0], peak[1], peak[2]
    kept[peak[0], peak[1], peak[2]] = True
    n_stack = 1
    while n_stack > 0:
        n_stack -= 1
        i, j, k = stack[n_stack, 0], stack[n_stack, 1], stack[n_stack, 2]
        for side in range(6):
            a, b, c = stepped(i, j, k, side)
            if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k or kept[a, b, c] or not mask[a, b, c]:
                continue
            x = (a - middle[0]) * spacing[0]
            y = (b - middle[1]) * spacing[1]
            z = (c - middle[2]) * spacing[2]
            best, to = -2.0 * (abs(x) + abs(y) + abs(z)) - 1.0, 0
            for n in range(len(directions)):
                along = x * directions[n, 0] + y * directions[n, 1] + z * directions[n, 2]
                if along > best:
                    best, to = along, n
            if values[a, b, c] >= thresholds[to]:
                kept[a, b, c] = True
                stack[n_stack, 0], stack[n_stack, 1], stack[n_stack, 2] = a, b, c
                n_stack += 1
    return kept


@numba.njit(cache=True)
def _side_backgrounds(values, mask, middle, spacing, background, hottest, near_mm, far_mm, directions):
    """Mean of what lies between near_mm and far_mm beyond the mask in each direction, the common background where the
    box ends before."""
    n_i, n_j, n_k = mask.shape
    found = np.full(len(directions), background)
    longest = np.sqrt((n_i * spacing[0]) ** 2 + (n_j * spacing[1]) ** 2 + (n_k * spacing[2]) ** 2)
    for n in range(len(directions)):
        last = 0.0
        total, count = 0.0, 0
        at_mm = 0.0
        while at_mm < longest:
            i = int(np.rint(middle[0] + at_mm * directions[n, 0] / spacing[0]))
            j = int(np.rint(middle[1] + at_mm * directions[n, 1] / spacing[1]))
            k = int(np.rint(middle[2] + at_mm * directions[n, 2] / spacing[2]))
            if i < 0 or j < 0 or k < 0 or i >= n_i or j >= n_j or k >= n_k:
                break
            if mask[i, j, k]:
                last = at_mm
                total, count = 0.0, 0
            elif at_mm >= last + near_mm and at_mm <= last + far_mm:
                total += values[i, j, k] if values[i, j, k] < hottest else background
                count += 1
            at_mm += STEP_MM
        if count > 0:
            found[n] = total / count
    return found
