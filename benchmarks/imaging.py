"""Speed of the imaging core beside the published code, side by side in one run; the figures are ratios.

usage: python -m benchmarks.imaging [--spacing MM] [--slow-lesions N]

Makes a whole-body exam with 10 lesions of 1 to 100 mL, writes it as a compressed NIfTI, and takes it from the file
to written masks: by this project, and by an implementation of the published code that is slow in the ways in which
that is (the exam read and relabelled for every lesion, every component listed by a scan of the whole volume, the
contour grown on whole volumes).
Seconds are those of the processor (everything timed runs in one thread): on a busy machine the clock on the wall
measures others.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import nibabel
import numpy as np
import typer
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.lesions.exam_peaks import exam_peaks
from pipelines.imaging.lesions.find_lesions import LesionRequest, LesionResult, find_lesions, write_mask
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.volume import Volume, k_of, load_nifti, save_nifti, slice_of
from pipelines.settings import SliceConvention

CHILD = """
import sys
from pipelines.imaging.reading.exam import read_exam
from pipelines.imaging.lesions.find_lesions import LesionRequest, find_lesions
exam = read_exam(sys.argv[1], "BENCH")
find_lesions(exam.suv, [LesionRequest("a", "", 100, 8.0), LesionRequest("b", "", 300, 12.0)])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss is the parent's
print(int(peak.split()[1]) // 1024)
"""
SIZE_MM = (800.0, 800.0, 1000.0)
N_SPOTS = 1000
VOLUMES_ML = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 35.0, 60.0, 100.0)


def whole_body(spacing_mm: float, seed: int = 0) -> tuple[Volume, list[LesionRequest]]:
    """A body of soft tissue with a liver, a brain and a bladder, 10 lesions in it, and what a report says of them."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(s / spacing_mm) for s in SIZE_MM)
    x, y, z = (((np.arange(n) + 0.5) * spacing_mm - s / 2).astype(np.float32) for n, s in zip(shape, SIZE_MM))
    body = ((x / 170) ** 2)[:, None, None] + ((y / 110) ** 2)[None, :, None] + ((z / 480) ** 4)[None, None, :] <= 1
    image = np.where(body, np.float32(0.7), np.float32(0.0))

    def paint(centre: tuple[float, float, float], radii: tuple[float, float, float], suv: float) -> None:
        i, j, k = (
            slice(int((c - r + s / 2) / spacing_mm) - 1, int((c + r + s / 2) / spacing_mm) + 2)
            for c, r, s in zip(centre, radii, SIZE_MM)
        )
        ball = (
            ((x[i] - centre[0]) / radii[0])[:, None, None] ** 2
            + ((y[j] - centre[1]) / radii[1])[None, :, None] ** 2
            + ((z[k] - centre[2]) / radii[2])[None, None, :] ** 2
        ) <= 1
        image[i, j, k][ball] = suv

    paint((60, 0, 60), (80, 70, 70), 2.2)
    paint((0, 0, 400), (65, 75, 60), 9.0)
    paint((0, 10, -330), (40, 40, 40), 40.0)
    centres: list[tuple[tuple[float, float, float], float]] = []
    suvs = rng.uniform(4, 16, len(VOLUMES_ML))
    for n, (volume, suv) in enumerate(zip(VOLUMES_ML, suvs)):
        radius = (volume * 3000 / 4 / np.pi) ** (1 / 3)
        centre = ((-1) ** n * 85.0, 25.0 * (-1) ** (n // 2), -260.0 + 62.0 * n)
        if n % 2 == 0 and -40 < centre[2] < 160:
            centre = (-85.0, centre[1], centre[2])
        paint(centre, (radius, radius, radius), float(suv))
        centres.append((centre, radius))
    # Bowel, marrow, muscle: real whole-body exams have from 50 (SUVmax 16) to 1,400 (SUVmax 4) components above T0.
    for suv in 2.4 + 1.2 * rng.exponential(size=N_SPOTS):
        spot = rng.uniform((-110, -70, -450), (110, 70, 320))
        if all(np.linalg.norm(spot - c) > r + 25 for c, r in centres):
            paint(tuple(spot), (5, 5, 5), float(suv))
    image = ndimage.gaussian_filter(image, 6.0 / 2.3548 / spacing_mm, output=np.float32)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 2.5 / spacing_mm, output=np.float32)
    image *= 1.0 + 0.05 / float(grain[::4, ::4, ::4].std()) * grain
    image[image < 0.02] = 0.0
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = [spacing_mm / 2 - s / 2 for s in SIZE_MM]
    volume = Volume(np.asfortranarray(image), affine)
    requests = []
    for n, (centre, radius) in enumerate(centres):
        low = np.maximum(0, np.rint(volume.to_ijk(np.array(centre) - radius)).astype(int))
        high = np.rint(volume.to_ijk(np.array(centre) + radius)).astype(int) + 1
        box = image[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        at = np.unravel_index(int(box.argmax()), box.shape)
        k = int(low[2] + at[2])
        slice_ = slice_of(SliceConvention(), k, shape[2])
        requests.append(LesionRequest(f"BENCH:{n:08x}", "", slice_, round(float(box.max()), 1)))
    return volume, requests


def ours(folder: Path, requests: list[LesionRequest], masks: Path) -> tuple[dict[str, float], list[LesionResult]]:
    """Seconds of each part and the results: the exam read once, all lesions found, masks written."""
    begin = time.process_time()
    exam = read_exam(folder, "BENCH")
    read = time.process_time()
    volume = exam.suv.canonical()
    product = exam_peaks(volume)
    listed = time.process_time()
    results = find_lesions(volume, requests, exam=product)
    found = time.process_time()
    for result in results:
        if result.mask is not None:
            write_mask(result, masks)
    end = time.process_time()
    parts = {"read": read - begin, "peaks": listed - read, "lesions": found - listed, "masks": end - found}
    return parts | {"all": end - begin}, results


def published_slow(path: Path, request: LesionRequest, out: Path) -> int:
    """Number of voxels of the mask that the published code makes of one finding, in the published code's own slow
    way."""
    image = nibabel.load(path)
    suv = np.asarray(image.get_fdata())
    spacing = image.header.get_zooms()[:3]
    voxel_ml = float(np.prod(spacing)) / 1000.0
    k = k_of(SliceConvention(), request.slice, suv.shape[2])
    labels, count = ndimage.label(suv > 0.617 + 0.316 * request.suvmax_reported)
    matches = []
    for n in range(1, count + 1):
        voxels = np.argwhere(labels == n)
        values = suv[voxels[:, 0], voxels[:, 1], voxels[:, 2]]
        on_slice = voxels[:, 2].min() <= k <= voxels[:, 2].max()
        if on_slice and abs(values.max() - request.suvmax_reported) <= 0.1:
            matches.append(tuple(voxels[int(values.argmax())]))
    mask = np.zeros(suv.shape, dtype=bool)
    for peak in matches[:1]:
        mask = _grow_slow(suv, peak, voxel_ml if voxel_ml >= 0.04 else 0.0435)
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), image.affine), out)
    return int(mask.sum())


def _rolled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with its face neighbours, on the whole volume; the border wraps around as it does there."""
    grown = mask.copy()
    for axis in range(3):
        grown |= np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
    return grown


def _grow_slow(suv: NDArray[np.float64], peak: tuple[int, ...], voxel_ml: float) -> NDArray[np.bool_]:
    mask = np.zeros(suv.shape, dtype=bool)
    mask[tuple(slice(p - 1, p + 2) for p in peak)] = True
    scale = min(float(suv[peak]), 10.0)
    threshold = np.inf
    for _ in range(500):
        inner = _rolled(_rolled(mask))
        shell = _rolled(inner) & ~inner
        background = float(suv[shell].mean())
        ratio = 0.078 / (mask.sum() * voxel_ml) + 0.617 * background / scale + 0.316
        if ratio > 0.9:
            return np.zeros(suv.shape, dtype=bool)
        settled = abs(ratio * scale - threshold) < 0.01 * threshold
        threshold = ratio * scale
        mask |= _rolled(mask) & (suv > threshold)
        if settled:
            break
    return mask


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def main(
    spacing: Annotated[float, typer.Option(help="voxel size in mm")] = 2.0,
    slow_lesions: Annotated[int, typer.Option(help="lesions that the slow code is timed on")] = 1,
) -> None:
    """Prints the ratios."""
    volume, requests = whole_body(spacing)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = save_nifti(volume, folder / "exam" / "SUV.nii.gz")
        print(f"exam of {volume.shape} voxels of {spacing:g} mm, {path.stat().st_size / 1e6:.0f} MB compressed")
        del volume
        ours(folder / "exam", requests, folder / "warm-up")
        parts, results = ours(folder / "exam", requests, folder / "masks")
        found = sum(r.outcome.value == "lesion" for r in results)
        mapped = save_nifti(load_nifti(path), folder / "cache" / "SUV.nii")
        cached = timed(lambda: find_lesions(load_nifti(mapped), requests))
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(folder / "exam")], check=True, capture_output=True, text=True
        )
        print(f"memory of one exam, read and searched, in a process of its own: {child.stdout.strip()} MiB")
        slow = [
            timed(lambda r=r: published_slow(path, r, folder / "slow.nii.gz"))
            for r in requests[:: 10 // max(1, slow_lesions)][:slow_lesions]
        ]  # type: ignore[misc]  # the lambda is called at once
        slow_all = float(np.mean(slow)) * len(requests)
        one = parts["lesions"] / len(requests)
        print(f"lesions found {found}/{len(requests)}")
        print(f"whole exam, read to written masks: published code / ours = {slow_all / parts['all']:.0f}")
        kept = parts["all"] - parts["peaks"]
        print(f"the same with the list of peaks that is kept as a file: published code / ours = {slow_all / kept:.0f}")
        print(f"without the reading, from a memory-mapped cache: published code / ours = {slow_all / cached:.0f}")
        print(f"part of the time that is reading: {parts['read'] / parts['all']:.2f}")
        print(f"one lesion, locate + grow + measure: {1000 * one:.1f} ms ({parts})")
        print(f"published code: {np.mean(slow):.1f} s a lesion, timed on {len(slow)}")


if __name__ == "__main__":
    typer.run(main)
