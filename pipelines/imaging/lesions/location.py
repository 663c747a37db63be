"""Where a reported finding is in the image: the peak that has the reported SUVmax and reaches the reported slice.

Two rules, in this order. `published`: a 6-connected component above T0 = 0.617 B + 0.316 SUVmax (B = 1) that has a
voxel on the slice and whose maximum is the reported one; found by flooding from the slice's own voxels and abandoned
at the first voxel that is hotter. It loses a lesion that touches a hotter one, so then `basin`: a local maximum of
the reported value whose own basin (what is connected to it above the saddle to a hotter peak) reaches the slice and
stands out.

Where lesions of about one value touch, each has its own part: what lies above the saddle between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.lesions.faces import stepped
from pipelines.imaging.volume import Volume
from pipelines.settings import LocateSettings

Ijk = tuple[int, int, int]


ROUNDING_SUV = 0.0501
"""Reports give SUV to one decimal."""


def t0_suv(settings: LocateSettings, suvmax: float) -> float:
    """T0 in SUV, above which the published rule builds its components for a reported SUVmax."""
    return settings.background_weight * settings.background_suv + settings.max_weight * suvmax


@dataclass(frozen=True)
class Candidate:
    """A peak that a sentence may mean. saddle_suv: level at which it joins a hotter peak (or the lowest level looked
    at). off_suv: how far its value is from the reported one."""

    peak_ijk: Ijk
    suvmax: float
    rule: str
    saddle_suv: float
    slices_away: int
    off_suv: float = 0.0

    @property
    def prominence_suv(self) -> float:
        """By how many SUV the peak stands out."""
        return self.suvmax - self.saddle_suv

    def weight(self, near_slices: float) -> float:
        """What a candidate weighs against others: its prominence, less the farther its peak is from the reported
        slice."""
        return self.prominence_suv / (1.0 + self.slices_away / near_slices)


@dataclass(frozen=True)
class NearestMiss:
    """For a finding that is not in the image: the maximum of the slice nearest to the report, the nearest slice with
    it."""

    suvmax_on_slice: float | None
    k_with_suvmax: int | None


class Locator:
    """Finds the candidates of findings in one volume; holds the scratch memory that all of them share.

    suv: RAS+ float array (i, j, k).
    """

    def __init__(self, suv: Volume, settings: LocateSettings) -> None:
        self.suv = suv
        self.settings = settings
        self._state = np.zeros(suv.shape, dtype=np.uint8, order="F")

    def published(self, k: int, suvmax: float) -> list[Candidate]:
        """Components above T0 on slice k whose maximum is within the tolerance of suvmax.

        Of lesions of about that value that touch, each is a candidate. Where none has its peak on the slice with the
        value as it rounds, a lesion that does but touches a hotter one is a candidate too.
        """
        s = self.settings
        tolerance = s.tolerance_suv
        threshold = t0_suv(s, suvmax)
        tops, n_peaks, peaks = _flood_slice(
            self.suv.array,
            self._state,
            k,
            np.float32(threshold),
            np.float32(suvmax - tolerance - _EPSILON),
            np.float32(suvmax + tolerance + _EPSILON),
        )
        found, first = [], 0
        for p, count in zip(tops, n_peaks):
            top = self._candidate(p, suvmax, k, "published", threshold)
            others = peaks[first : first + count]
            first += count
            if top.suvmax < suvmax - tolerance - _EPSILON:
                continue
            parts = [top]
            for other in others:
                saddle, _, _ = self._basin(other, threshold, [top.peak_ijk])
                part = self._candidate(other, suvmax, k, "published", saddle)
                if part.prominence_suv >= s.apart * part.suvmax:
                    parts.append(part)
            found += self._told_apart(parts, k, threshold)
        if found and not any(c.slices_away == 0 and c.off_suv <= ROUNDING_SUV for c in found):
            seen = {c.peak_ijk for c in found}
            found += [c for c in self._exact(k, suvmax) if c.peak_ijk not in seen]
        return found

    def basins(self, k: int, suvmax: float) -> list[Candidate]:
        """Local maxima of the value whose own basin reaches slice k and stands out, the weightiest first.

        Where there is none, the only maximum on slice k itself that rounds to the value, however little it stands out.
        """
        s = self.settings
        reach = int(np.ceil(s.reach_mm / self.suv.spacing_mm[2]))
        low, high = max(0, k - reach), min(self.suv.shape[2], k + reach + 1)
        floor = t0_suv(s, suvmax)
        found, shallow = [], []
        for p in self._maxima(low, high, suvmax):
            saddle, k_low, k_high = self._basin(p, floor)
            if not k_low <= k <= k_high:
                continue
            candidate = self._candidate(p, suvmax, k, "basin", saddle)
            if candidate.prominence_suv >= max(s.stand_out * candidate.suvmax, s.stand_out_suv):
                found.append(candidate)
            elif candidate.prominence_suv > 0 and candidate.slices_away == 0 and candidate.off_suv <= ROUNDING_SUV:
                shallow.append(candidate)
        # Alone and right on the slice to a tenth of an SUV, a shoulder of something hotter is meant after all.
        if not found and len(shallow) == 1:
            return shallow
        found = self._told_apart(found, k, floor)
        return sorted(found, key=lambda c: (-c.weight(s.near_slices), c.peak_ijk))

    def _exact(self, k: int, suvmax: float) -> list[Candidate]:
        """Peaks on slice k that round to the value and stand out as a lesion does."""
        floor = t0_suv(self.settings, suvmax)
        found = []
        for p in self._maxima(k, k + 1, suvmax, ROUNDING_SUV):
            saddle, _, _ = self._basin(p, floor)
            candidate = self._candidate(p, suvmax, k, "basin", saddle)
            if candidate.prominence_suv >= self.settings.apart * candidate.suvmax:
                found.append(candidate)
        return found

    def _candidate(self, p: Any, suvmax: float, k: int, rule: str, saddle_suv: float) -> Candidate:
        ijk = _ijk(p)
        value = float(self.suv.array[ijk])
        low, high = _plateau(self.suv.array, self._state, *ijk)
        away = max(0, int(low) - k, k - int(high))
        return Candidate(ijk, value, rule, float(saddle_suv), away, abs(value - suvmax))

    def _basin(self, p: Any, floor: float, rivals: Sequence[Ijk] = ()) -> tuple[float, int, int]:
        others = np.array(rivals, dtype=np.int64).reshape(-1, 3)
        saddle, low, high = _basin(self.suv.array, self._state, *_ijk(p), np.float32(floor), others)
        return float(saddle), int(low), int(high)

    def _told_apart(self, found: list[Candidate], k: int, floor: float) -> list[Candidate]:
        """The candidates with the saddles between them where several are lesions of their own; of those, the ones whose
        own part reaches slice k, if any does."""
        own = [c for c in found if c.prominence_suv >= self.settings.apart * c.suvmax]
        if len(own) < 2:
            return found
        parts, reaching = [], []
        for c in found:
            saddle, k_low, k_high = self._basin(c.peak_ijk, floor, [o.peak_ijk for o in own if o is not c])
            part = replace(c, saddle_suv=max(c.saddle_suv, saddle))
            parts.append(part)
            if k_low <= k <= k_high:
                reaching.append(part)
        return reaching or parts

    def _maxima(self, k_low: int, k_high: int, suvmax: float, tolerance_suv: float | None = None) -> NDArray[np.int64]:
        tolerance = (self.settings.tolerance_suv if tolerance_suv is None else tolerance_suv) + _EPSILON
        return _local_maxima(
            self.suv.array, k_low, k_high, np.float32(suvmax - tolerance), np.float32(suvmax + tolerance)
        )

    def nearest_miss(self, k: int, suvmax: float) -> NearestMiss:
        """The local maximum of slice k nearest to suvmax in value, and the slice nearest to k where the value is a
        peak."""
        on_slice = None
        if 0 <= k < self.suv.shape[2]:
            values = _plane_maxima(np.ascontiguousarray(self.suv.array[:, :, k]))
            if len(values):
                on_slice = float(values[np.abs(values - suvmax).argmin()])
        peaks = self._maxima(0, self.suv.shape[2], suvmax)
        nearest = int(peaks[np.abs(peaks[:, 2] - k).argmin(), 2]) if len(peaks) else None
        return NearestMiss(on_slice, nearest)


_EPSILON = 1e-4
"""Reported values are decimal and the image is float32: 6.7 - 0.1 must not exclude 6.6."""


def _ijk(row: Any) -> Ijk:
    return int(row[0]), int(row[1]), int(row[2])


@numba.njit(cache=True)
def _flood_slice(array, state, k, threshold, low, ceiling):
    """Of the components above `threshold` with a voxel on slice k, none above `ceiling`: their maxima (n, 3), how many
    other local maxima from `low` up each has, and those (m, 3), component by component."""
    n_i, n_j, n_k = array.shape
    capacity = 4096
    queue = np.empty((capacity, 3), np.int32)
    end = 0
    tops = np.empty((64, 3), np.int64)
    n_peaks = np.zeros(64, np.int64)
    peaks = np.empty((64, 3), np.int64)
    n_found = 0
    n_all = 0
    for j0 in range(n_j):
        for i0 in range(n_i):
            if array[i0, j0, k] <= threshold or state[i0, j0, k] != 0:
                continue
            begin = end
            if end == capacity:
                queue, capacity = _grow(queue)
            queue[end, 0], queue[end, 1], queue[end, 2] = i0, j0, k
            end += 1
            state[i0, j0, k] = 1
            head = begin
            abandoned = False
            best = np.float32(-1.0)
            at = begin
            while head < end and not abandoned:
                i, j, kk = queue[head, 0], queue[head, 1], queue[head, 2]
                value = array[i, j, kk]
                if value > ceiling:
                    abandoned = True
                    break
                if value > best or (value == best and _before(i, j, kk, queue[at, 0], queue[at, 1], queue[at, 2])):
                    best = value
                    at = head
                head += 1
                for side in range(6):
                    a, b, c = stepped(i, j, kk, side)
                    if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k or array[a, b, c] <= threshold:
                        continue
                    seen = state[a, b, c]
                    if seen == 2:
                        abandoned = True  # part of a component that was left because it is too hot
                        break
                    if seen == 0:
                        if end == capacity:
                            queue, capacity = _grow(queue)
                        queue[end, 0], queue[end, 1], queue[end, 2] = a, b, c
                        end += 1
                        state[a, b, c] = 1
            if abandoned:
                for n in range(begin, end):
                    state[queue[n, 0], queue[n, 1], queue[n, 2]] = 2
                continue
            if n_found == len(n_peaks):
                tops, n_peaks = _more(tops), np.concatenate((n_peaks, np.zeros(len(n_peaks), np.int64)))
            tops[n_found, 0], tops[n_found, 1], tops[n_found, 2] = queue[at, 0], queue[at, 1], queue[at, 2]
            if best >= low:
                for n in range(begin, end):
                    i, j, kk = queue[n, 0], queue[n, 1], queue[n, 2]
                    if n == at or array[i, j, kk] < low or not _is_top(array, i, j, kk):
                        continue
                    if n_all == len(peaks):
                        peaks = _more(peaks)
                    peaks[n_all, 0], peaks[n_all, 1], peaks[n_all, 2] = i, j, kk
                    n_all += 1
                    n_peaks[n_found] += 1
            n_found += 1
    for n in range(end):
        state[queue[n, 0], queue[n, 1], queue[n, 2]] = 0
    return tops[:n_found], n_peaks[:n_found], peaks[:n_all]


@numba.njit(cache=True)
def _grow(queue):
    bigger = np.empty((2 * len(queue), 3), np.int32)
    bigger[: len(queue)] = queue
    return bigger, len(bigger)


@numba.njit(cache=True)
def _more(rows):
    bigger = np.empty((2 * len(rows), 3), np.int64)
    bigger[: len(rows)] = rows
    return bigger


@numba.njit(cache=True)
def _more1(rows):
    bigger = np.empty(2 * len(rows), np.float32)
    bigger[: len(rows)] = rows
    return bigger


@numba.njit(cache=True, inline="always")
def _swap(values, places, a, b):
    """Two entries of a heap change places."""
    value = values[a]
    values[a] = values[b]
    values[b] = value
    for axis in range(3):
        at = places[a, axis]
        places[a, axis] = places[b, axis]
        places[b, axis] = at


@numba.njit(cache=True)
def _is_top(array, i, j, k):
    """Whether no neighbour of 26 exceeds a voxel, nor is as high and comes before it."""
    n_i, n_j, n_k = array.shape
    value = array[i, j, k]
    for c in range(max(0, k - 1), min(n_k, k + 2)):
        for b in range(max(0, j - 1), min(n_j, j + 2)):
            for a in range(max(0, i - 1), min(n_i, i + 2)):
                other = array[a, b, c]
                if other > value or (other == value and _before(a, b, c, i, j, k)):
                    return False
    return True


@numba.njit(cache=True)
def _before(a, b, c, i, j, k):
    """Whether voxel (a, b, c) comes before (i, j, k) in the order of the file."""
    return c < k or (c == k and (b < j or (b == j and a < i)))


@numba.njit(cache=True)
def _local_maxima(array, k_low, k_high, low, high):
    """Voxels (n, 3) of k_low <= k < k_high within low..high that no neighbour of 26 exceeds; of a plateau, the
    first."""
    n_i, n_j, _ = array.shape
    peaks = np.empty((64, 3), np.int64)
    n_found = 0
    for k in range(k_low, k_high):
        for j in range(n_j):
            for i in range(n_i):
                value = array[i, j, k]
                if value < low or value > high or not _is_top(array, i, j, k):
                    continue
                if n_found == len(peaks):
                    peaks = _more(peaks)
                peaks[n_found, 0], peaks[n_found, 1], peaks[n_found, 2] = i, j, k
                n_found += 1
    return peaks[:n_found]


@numba.njit(cache=True)
def _plateau(array, state, i0, j0, k0):
    """Slices (lowest, highest) of the voxels as high as a peak that hang together with it."""
    n_i, n_j, n_k = array.shape
    value = array[i0, j0, k0]
    queue = np.empty((16, 3), np.int32)
    queue[0, 0], queue[0, 1], queue[0, 2] = i0, j0, k0
    state[i0, j0, k0] = 1
    low, high = k0, k0
    head, end = 0, 1
    while head < end:
        i, j, k = queue[head, 0], queue[head, 1], queue[head, 2]
        head += 1
        low, high = min(low, k), max(high, k)
        for side in range(6):
            a, b, c = stepped(i, j, k, side)
            if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k:
                continue
            if array[a, b, c] != value or state[a, b, c] != 0:
                continue
            if end == len(queue):
                queue, _ = _grow(queue)
            queue[end, 0], queue[end, 1], queue[end, 2] = a, b, c
            end += 1
            state[a, b, c] = 1
    for n in range(end):
        state[queue[n, 0], queue[n, 1], queue[n, 2]] = 0
    return low, high


@numba.njit(cache=True)
def _plane_maxima(plane):
    """Values of the local maxima (8 neighbours) of a slice, its own maximum always among them."""
    n_i, n_j = plane.shape
    values = np.empty(64, np.float32)
    n_found = 0
    for j in range(n_j):
        for i in range(n_i):
            value = plane[i, j]
            top = True
            for b in range(max(0, j - 1), min(n_j, j + 2)):
                for a in range(max(0, i - 1), min(n_i, i + 2)):
                    if plane[a, b] > value:
                        top = False
            if top:
                if n_found == len(values):
                    values = _more1(values)
                values[n_found] = value
                n_found += 1
    return values[:n_found]


@numba.njit(cache=True)
def _basin(array, state, i0, j0, k0, floor, rivals):
    """Saddle of a peak and the slices (lowest, highest) of its basin.

    Water is lowered from the peak, the highest neighbour first; the lowest level passed before a hotter voxel or one of
    `rivals` (n, 3) turns up is the saddle (`floor` where none does). Of voxels as hot the first counts as hotter, so
    that a plateau has one peak. The basin is what was visited above the saddle.
    """
    n_i, n_j, n_k = array.shape
    peak = array[i0, j0, k0]
    capacity = 1024
    heap_value = np.empty(capacity, np.float32)
    heap_at = np.empty((capacity, 3), np.int32)
    n_heap = 1
    heap_value[0] = peak
    heap_at[0, 0], heap_at[0, 1], heap_at[0, 2] = i0, j0, k0
    touched = np.empty((capacity, 3), np.int32)
    touched[0] = heap_at[0]
    n_touched = 1
    state[i0, j0, k0] = 1
    seen_value = np.empty(capacity, np.float32)
    seen_k = np.empty(capacity, np.int32)
    n_seen = 0
    saddle = peak
    hotter = False
    while n_heap > 0:
        value = heap_value[0]
        i, j, k = heap_at[0, 0], heap_at[0, 1], heap_at[0, 2]
        n_heap -= 1
        heap_value[0] = heap_value[n_heap]
        heap_at[0] = heap_at[n_heap]
        parent = 0
        while True:
            child = 2 * parent + 1
            if child >= n_heap:
                break
            if child + 1 < n_heap and heap_value[child + 1] > heap_value[child]:
                child += 1
            if heap_value[child] <= heap_value[parent]:
                break
            _swap(heap_value, heap_at, child, parent)
            parent = child
        if value > peak or (value == peak and _before(i, j, k, i0, j0, k0)):
            hotter = True
            break
        if value < saddle:
            saddle = value
        for n in range(len(rivals)):
            if i == rivals[n, 0] and j == rivals[n, 1] and k == rivals[n, 2]:
                hotter = True
        if hotter:
            break
        if value <= floor:
            break
        if n_seen == len(seen_value):
            seen_value = _more1(seen_value)
            grown = np.empty(2 * len(seen_k), np.int32)
            grown[: len(seen_k)] = seen_k
            seen_k = grown
        seen_value[n_seen] = value
        seen_k[n_seen] = k
        n_seen += 1
        for side in range(6):
            a, b, c = stepped(i, j, k, side)
            if a < 0 or b < 0 or c < 0 or a >= n_i or b >= n_j or c >= n_k or state[a, b, c] != 0:
                continue
            state[a, b, c] = 1
            if n_touched == len(touched):
                touched, _ = _grow(touched)
            touched[n_touched, 0], touched[n_touched, 1], touched[n_touched, 2] = a, b, c
            n_touched += 1
            if n_heap == len(heap_value):
                heap_value = _more1(heap_value)
                heap_at, _ = _grow(heap_at)
            child = n_heap
            n_heap += 1
            heap_value[child] = array[a, b, c]
            heap_at[child, 0], heap_at[child, 1], heap_at[child, 2] = a, b, c
            while child > 0:
                parent = (child - 1) // 2
                if heap_value[parent] >= heap_value[child]:
                    break
                _swap(heap_value, heap_at, child, parent)
                child = parent
    for n in range(n_touched):
        state[touched[n, 0], touched[n, 1], touched[n, 2]] = 0
    if not hotter and saddle > floor:
        saddle = floor
    k_low, k_high = k0, k0
    for n in range(n_seen):
        if seen_value[n] > saddle:
            k_low = min(k_low, seen_k[n])
            k_high = max(k_high, seen_k[n])
    return saddle, k_low, k_high
