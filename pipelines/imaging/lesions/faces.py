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


@numba.njit(cache=True, inline="always")
def flat_step(at, side, n_i, n_j, n_k):
    """Flat index (C order) of the face neighbour of voxel `at` on one of the six sides; -1 outside of the image."""
    if side == 0:
        return at - n_j * n_k if at >= n_j * n_k else -1
    if side == 1:
        return at + n_j * n_k if at < (n_i - 1) * n_j * n_k else -1
    if side == 2:
        return at - n_k if at % (n_j * n_k) >= n_k else -1
    if side == 3:
        return at + n_k if at % (n_j * n_k) < (n_j - 1) * n_k else -1
    if side == 4:
        return at - 1 if at % n_k > 0 else -1
    return at + 1 if at % n_k < n_k - 1 else -1
