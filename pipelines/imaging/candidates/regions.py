"""The region of each candidate: what is connected with its peak above one level, and whose peaks lie in it."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.lesions.peaks import PeakList
from pipelines.imaging.volume import Volume

LEVEL = 0.45
"""Level of a region over the SUVpeak [ratio]: that of the contours (docs/contours.md)."""
LEAST_DROP = 0.05
"""A region reaches at least so far below its maximum [ratio]: where the SUVpeak is hardly lower than it."""
MOST_ML = 600.0
"""A region that grows beyond is a leak [mL]: larger than nearly all tumours."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of n peaks; arrays (n, ...)."""

    level_suv: NDArray[np.float64]
    """Level above which it is connected."""
    n_voxels: NDArray[np.int64]
    n_faces: NDArray[np.int64]
    """Exposed faces."""
    mean_suv: NDArray[np.float64]
    moments_mm2: NDArray[np.float64]
    """Variances along its three principal axes, the longest first, (n, 3)."""
    is_leak: NDArray[np.bool_]
    """It grew beyond MOST_ML and was not followed further."""
    within: NDArray[np.int64]
    """Index of the hottest peak whose region holds the peak; its own where none does."""
    owner: NDArray[np.int32]
    """Of each voxel of the image the index of the hottest peak whose region holds it; -1: none."""

    @property
    def elongation(self) -> NDArray[np.float64]:
        """Shortest over longest axis."""
        return np.asarray(np.sqrt(self.moments_mm2[:, 2] / self.moments_mm2[:, 0]))

    @property
    def flatness(self) -> NDArray[np.float64]:
        """Middle over longest axis."""
        return np.asarray(np.sqrt(self.moments_mm2[:, 1] / self.moments_mm2[:, 0]))


def grow_regions(volume: Volume, peaks: PeakList) -> Regions:
    """The region of each peak: connected with it (26 neighbours) above LEVEL of its SUVpeak and above its saddle, so
    that no hotter peak is in it.

    Args:
        volume: SUV, RAS+.
        peaks: as `find_peaks` gives them, the hottest first.
    """
    level = np.minimum(LEVEL * peaks.suvpeak, (1 - LEAST_DROP) * peaks.suv)
    level = np.maximum(level, np.nextafter(peaks.saddle_suv.astype(np.float32), np.float32(np.inf)))
    most = max(1, int(MOST_ML / volume.voxel_ml))
    array = np.asarray(volume.array, dtype=np.float32)
    count, faces, mean, second, leak, within, owner = _grow(
        array, peaks.ijk, level.astype(np.float32), most, np.array(volume.spacing_mm)
    )
    # A voxel is a cube: its own variance keeps regions of one voxel from having none.
    own = np.square(volume.spacing_mm) / 12.0
    moments = np.linalg.eigvalsh(second + np.diag(own))[:, ::-1] if len(peaks) else np.zeros((0, 3))
    return Regions(level, count, faces, mean, moments, leak, within, owner)


@numba.njit(cache=True)
def _grow(array, ijk, level, most, spacing):
    n_i, n_j, n_k = array.shape
    n = len(ijk)
    seen = np.zeros((n_i, n_j, n_k), np.int32)
    owner = np.full((n_i, n_j, n_k), -1, np.int32)
    count, faces = np.zeros(n, np.int64), np.zeros(n, np.int64)
    mean, second = np.zeros(n, np.float64), np.zeros((n, 3, 3), np.float64)
    leak, within = np.zeros(n, np.bool_), np.arange(n)
    queue = np.empty((most + 27, 3), np.int32)
    for c in range(n):
        i, j, k = ijk[c, 0], ijk[c, 1], ijk[c, 2]
        if owner[i, j, k] >= 0:
            within[c] = owner[i, j, k]
        queue[0, 0], queue[0, 1], queue[0, 2] = i, j, k
        seen[i, j, k] = c + 1
        end, done = 1, 0
        while done < end and end <= most:
            i, j, k = queue[done, 0], queue[done, 1], queue[done, 2]
            done += 1
            for a in range(max(0, i - 1), min(n_i, i + 2)):
                for b in range(max(0, j - 1), min(n_j, j + 2)):
                    for d in range(max(0, k - 1), min(n_k, k + 2)):
                        if seen[a, b, d] != c + 1 and array[a, b, d] >= level[c]:
                            seen[a, b, d] = c + 1
                            queue[end, 0], queue[end, 1], queue[end, 2] = a, b, d
                            end += 1
        leak[c] = end > most
        count[c] = end
        first = np.zeros(3)
        for m in range(end):
            at = queue[m]
            mean[c] += array[at[0], at[1], at[2]]
            for x in range(3):
                first[x] += at[x] * spacing[x]
            if owner[at[0], at[1], at[2]] < 0 and not leak[c]:
                owner[at[0], at[1], at[2]] = within[c]
        mean[c] /= end
        first /= end
        for m in range(end):
            at = queue[m]
            for x in range(3):
                for y in range(3):
                    second[c, x, y] += (at[x] * spacing[x] - first[x]) * (at[y] * spacing[y] - first[y]) / end
            for side in range(6):
                a, b, d = at[0], at[1], at[2]
                step = 1 if side % 2 else -1
                if side // 2 == 0:
                    a += step
                elif side // 2 == 1:
                    b += step
                else:
                    d += step
                outside = a < 0 or b < 0 or d < 0 or a >= n_i or b >= n_j or d >= n_k
                if outside or seen[a, b, d] != c + 1:
                    faces[c] += 1
    return count, faces, mean, second, leak, within, owner
