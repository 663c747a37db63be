"""Statistics of counts."""

import math


def wilson_interval(n_right: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Ends of the Wilson score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953), (0, 1) for n = 0.

    Args:
        n_right: successes, 0..n.
        n: trials.
        z: quantile of the standard normal distribution; 1.96 gives 95 %.
    """
    if not 0 <= n_right <= n:
        raise ValueError(f"expected a count within 0..{n}, got {n_right}")
    if n == 0:
        return 0.0, 1.0
    share = n_right / n
    scale = 1 + z**2 / n
    middle = (share + z**2 / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
