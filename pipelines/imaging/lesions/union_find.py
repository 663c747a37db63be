"""Union-find for compiled loops."""

import numba


@numba.njit(cache=True, inline="always")
def root_of(parent, x):
    """The root of `x`, its path halved on the way; `parent` of a root is itself."""
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x
