"""The six face neighbours of a voxel, for compiled loops; inlined, so that they cost what written-out steps cost."""

import numba


@numba.njit(cache=True, inline="always")
def stepped(i, j, k, side):
    """Index (i, j, k) of the face neighbour on one of the six sides; it may lie outside of the image."""
    if side == 0:
        return i - 1, j, k
    if side == 1:
        return i + 1, j, k
    if side == 2:
        return i, j - 1, k
    if side == 3:
        return i, j + 1, k
    if side == 4:
        return i, j, k - 1
    return i, j, k + 1
