"""Volumes: an array that never travels without its affine.

Axis order is written here once and held everywhere: `array[i, j, k]`, and after `canonical()` i grows to the patient's
right (+x), j to the front (+y), k from the feet to the head (+z); `affine @ [i, j, k, 1]` is the voxel's centre in
RAS mm. Files are brought to that order when they are read, so no other module has to know how a file was stored.
"""

import gzip
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813
from isal import isal_zlib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from pipelines.imaging.problems import ExamError
from pipelines.settings import ExamSettings, Origin, SliceConvention, SliceGridKind
from pipelines.tables import atomic
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason, file_reference

SPACING_DISAGREES = 0.02
"""Part by which the voxel sizes of a NIfTI's sform and qform may differ: rounding is far below."""
CORNERS_DISAGREE, CORNERS_DISAGREE_MM = 0.5, 0.5
"""Voxels, or mm if that is more, by which they may place a corner apart: a qform of single precision is below."""
SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes of a grid: real headers round to about 1e-5, a sheared grid has no single spacing."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image on a grid: `array` (i, j, k) and `affine` (4 x 4, voxel index to RAS mm).

    Raises ExamError(BAD_GEOMETRY) unless the array is 3D and not empty and the affine finite, invertible and free of
    shear.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=np.float64)
        object.__setattr__(self, "affine", affine)
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ExamError(
                ExamProblem.BAD_GEOMETRY, f"expected a 3D image, got shape {self.array.shape}: give one volume per file"
            )
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                f"expected a finite 4 x 4 affine, got {affine.tolist()}: convert the images again",
            )
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if (lengths <= 0).any():
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                f"expected positive spacings, got {lengths.tolist()} mm: convert the images again",
            )
        axes = affine[:3, :3] / lengths
        cosines = np.abs(axes.T @ axes - np.eye(3)).max()
        if cosines > SHEAR_TOLERANCE:
            raise ExamError(
                ExamProblem.BAD_GEOMETRY,
                f"expected perpendicular axes, got a sheared grid (cosine {cosines:.4f}): resample the images to a"
                " right-angled grid",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size in mm along each axis of the array."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_ras_mm(self, ijk: Any) -> NDArray[np.float64]:
        """RAS mm of voxel indices: shape (..., 3) in, (..., 3) out; indices may lie between voxels."""
        return np.asarray(ijk, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_ijk(self, ras_mm: Any) -> NDArray[np.float64]:
        """Voxel indices, not rounded, of points in RAS mm: shape (..., 3) in, (..., 3) out."""
        return (np.asarray(ras_mm, dtype=np.float64) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def crop(self, box: Box) -> "Volume":
        """The part of the volume inside a half-open box, as a view, with the affine moved to its corner."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_ras_mm([s.indices(n)[0] for s, n in zip(box, self.array.shape)])
        return Volume(self.array[box], affine)

    def canonical(self) -> "Volume":
        """The same volume in the closest RAS+ order: axes swapped and flipped as a view, never resampled."""
        orientation = nibabel.orientations.io_orientation(self.affine)
        if np.array_equal(orientation, [[0, 1], [1, 1], [2, 1]]):
            return self
        array = nibabel.orientations.apply_orientation(self.array, orientation)
        affine = self.affine @ nibabel.orientations.inv_ornt_aff(orientation, self.array.shape)
        return Volume(array, affine)

    def same_grid(self, other: "Volume", tolerance_mm: float = 0.1) -> bool:
        """Whether both have one shape and every corner voxel in one place, to a tolerance in mm."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return bool(np.abs(self.to_ras_mm(corners) - other.to_ras_mm(corners)).max() <= tolerance_mm)


def by_axis(name: str, values: Iterable[Any], axes: str = "ijk") -> dict[str, Any]:
    """A value an axis by the name of its column: `name` holds {} where the axis stands."""
    return {name.format(axis): value for axis, value in zip(axes, values, strict=True)}


@dataclass(frozen=True)
class SliceGrid:
    """The axial slices of a series: how many, and the RAS z in mm of the lowest and of the step to the next (feet to
    head)."""

    n_slices: int
    first_mm: float
    step_mm: float


def slices_of(volume: Volume) -> SliceGrid:
    """The axial slices of a volume in RAS+ order, by the height of their middles: an oblique slice has no other one."""
    middle = [(volume.shape[0] - 1) / 2, (volume.shape[1] - 1) / 2, 0]
    return SliceGrid(volume.shape[2], float(volume.to_ras_mm(middle)[2]), float(volume.affine[2, 2]))


def k_of(convention: SliceConvention, reported_slice: int, n_slices: int) -> int:
    """Index k (from the feet) of a reported slice in a series of n_slices; may lie outside 0..n_slices - 1."""
    offset = reported_slice - convention.base
    return n_slices - 1 - offset if convention.origin is Origin.HEAD else offset


def slice_of(convention: SliceConvention, k: int, n_slices: int) -> int:
    """Reported number of the slice at index k (from the feet) in a series of n_slices."""
    return (n_slices - 1 - k if convention.origin is Origin.HEAD else k) + convention.base


def pet_k_of(convention: SliceConvention, reported_slice: int, pet: SliceGrid, ct: SliceGrid | None) -> int | None:
    """Index k of the PET slice that a report means, which may lie outside; None where it counts CT slices and there
    is no CT."""
    if convention.grid is SliceGridKind.PET:
        return k_of(convention, reported_slice, pet.n_slices)
    if ct is None:
        return None
    k = k_of(convention, reported_slice, ct.n_slices)
    if not 0 <= k < ct.n_slices:
        return -1
    return round((ct.first_mm + k * ct.step_mm - pet.first_mm) / pet.step_mm)


def pet_slice_of(convention: SliceConvention, k: int, pet: SliceGrid, ct: SliceGrid | None) -> int | None:
    """How a report would number the PET slice at index k; None where it counts CT slices and there is no CT."""
    if convention.grid is SliceGridKind.PET:
        return slice_of(convention, k, pet.n_slices)
    if ct is None:
        return None
    at = round((pet.first_mm + k * pet.step_mm - ct.first_mm) / ct.step_mm)
    return slice_of(convention, at, ct.n_slices)


def load_nifti(path: Path | str, most_bytes: int = ExamSettings().largest_image_bytes) -> Volume:
    """The volume of a NIfTI file in RAS+ order, with the scaling of its header applied.

    An uncompressed file without scaling comes back memory-mapped; a compressed one is decoded once. Integers stay
    integers where the header scales by one.

    Args:
        most_bytes: of the unpacked voxels; nothing beyond is unpacked.

    Raises:
        ExamError(UNREADABLE | BAD_GEOMETRY): names the file; it is damaged, larger, no NIfTI of one 3D image, or its
            geometry is not known.
    """
    path = Path(path)
    name = file_reference(path, path.parent)
    try:
        return _read_nifti(path, most_bytes)
    except ExamError as error:
        raise ExamError(error.problem, f"{name}: {error.message}") from None
    except Exception as error:
        # Of a damaged header every value may be impossible, and each library function fails in its own way.
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"{name}: expected a NIfTI image, cannot be read ({error_reason(error)}): copy or convert it again",
        ) from None


def _read_nifti(path: Path, most_bytes: int) -> Volume:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        source: Any = file.read() if packed else None
    image = _nifti_of(lambda count: _first_bytes(source, count) if packed else _head_of(path, count))
    shape, affine = image.shape, image.affine
    dtype: np.dtype[Any] = np.dtype(image.dataobj.dtype)
    if dtype.fields is not None or dtype.kind not in "iuf":
        raise ExamError(
            ExamProblem.UNREADABLE, f"expected one number a voxel, it holds {dtype}: convert it to grey values"
        )
    offset, size = int(image.dataobj.offset), math.prod(shape) * dtype.itemsize
    if size > most_bytes:
        raise ExamError(
            ExamProblem.UNREADABLE,
            f"it unpacks to {size >> 20} MiB, more than {most_bytes >> 20}: crop or resample it, or raise"
            " exam.largest_image_mib",
        )
    if packed:
        raw = np.frombuffer(_gunzip(source, offset + size), dtype=dtype, count=math.prod(shape), offset=offset)
    else:
        held = path.stat().st_size
        if held < offset + size:
            raise ExamError(
                ExamProblem.UNREADABLE, f"is cut short, {held} of {offset + size} bytes: copy or convert it again"
            )
        raw = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(math.prod(shape),))
    return Volume(_scaled(raw, image).reshape(shape[:3], order="F"), affine).canonical()


_HEADER_BYTES, _LONGEST_HEADER = 1 << 12, 1 << 26
"""Header of a NIfTI, and the most that it may have of extensions."""


def _first_bytes(packed: bytes, count: int) -> bytes:
    try:
        return b"".join(_members(packed, count))
    except IsalError:  # type: ignore[misc]  # Its stub says an instance.
        raise ExamError(ExamProblem.UNREADABLE, "is a damaged gzip file: copy or convert it again") from None


def _head_of(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _nifti_of(first_bytes: Callable[[int], bytes]) -> Any:
    """The image of a file, checked but for its voxels, which are not read; `first_bytes` reads so many bytes of it."""
    head = first_bytes(_HEADER_BYTES)
    kinds = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
    kind = kinds.get(int.from_bytes(head[:4], "little")) or kinds.get(int.from_bytes(head[:4], "big"))
    if kind is None:
        raise ExamError(ExamProblem.UNREADABLE, "expected a NIfTI image, it is another kind of file: convert it again")
    # As it was written: nibabel repairs some faults, other programs do not.
    written: Any = kind.header_class.from_fileobj(io.BytesIO(head), check=False)
    _check_header(written, tuple(int(n) for n in written.get_data_shape()))
    start = int(written["vox_offset"])
    if start > _LONGEST_HEADER:
        raise ExamError(ExamProblem.UNREADABLE, "has a damaged header: copy or convert it again")
    return kind.from_bytes(head if start <= len(head) else first_bytes(start))


def _check_header(header: Any, shape: tuple[int, ...]) -> None:
    """Raises ExamError where the header states no one geometry of one 3D image."""
    if header["qform_code"] == 0 and header["sform_code"] == 0:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            "has neither a qform nor an sform, so left and right are unknown: convert it again",
        )
    if len(shape) < 3 or min(shape) < 1 or set(shape[3:]) - {1}:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY, f"expected a 3D image, it has shape {shape}: give one volume per file"
        )
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(sizes).all() or sizes.min() < 0 or (sizes.min() == 0 and header["sform_code"] == 0):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY, f"expected positive voxel sizes, got {sizes.tolist()} mm: convert it again"
        )
    _refuse_two_geometries(header, shape)


def _refuse_two_geometries(header: Any, shape: Sequence[int]) -> None:
    """Raises ExamError(BAD_GEOMETRY) where sform and qform place the image elsewhere, name other sides or other voxel
    sizes: programs differ in which of the two they believe, so a mask or a side would be another for each."""
    try:
        sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    except (ValueError, nibabel.spatialimages.HeaderDataError):
        return  # The one that is in use is judged as an affine.
    if sform is None or qform is None:
        return
    sides = ["".join(a or "?" for a in nibabel.orientations.aff2axcodes(form)) for form in (sform, qform)]
    sizes = [np.linalg.norm(a[:3, :3], axis=0) for a in (sform, qform)]
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[:3]])).reshape(3, -1)
    apart = np.abs((sform - qform) @ np.vstack([corners, np.ones(8)])).max()
    if (
        sides[0] != sides[1]
        or not np.allclose(sizes[0], sizes[1], rtol=SPACING_DISAGREES)
        or not apart <= max(CORNERS_DISAGREE_MM, CORNERS_DISAGREE * float(sizes[0].min()))
    ):
        said = [f"{side} with voxels of {np.round(size, 3).tolist()} mm" for side, size in zip(sides, sizes)]
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"expected one geometry, it is {said[0]} by its sform and {said[1]} by its qform, up to {apart:.3g}"
            " mm apart, so left and right, sizes or places are unknown: convert it again",
        )


def _scaled(raw: NDArray[Any], image: Any) -> NDArray[Any]:
    """Voxels in native byte order, with the header's scaling."""
    if not raw.dtype.isnative:
        raw = raw.astype(raw.dtype.newbyteorder("="))
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if (slope, intercept) == (1.0, 0.0):
        return raw
    with np.errstate(over="ignore", invalid="ignore"):  # Infinite values are refused where they are used.
        scaled = np.multiply(raw, np.float32(slope), dtype=np.float32)
        return np.add(scaled, np.float32(intercept), out=scaled)


def _gunzip(packed: bytes, size: int) -> bytes:
    """The first `size` unpacked bytes of a gzip file, in one go, which is what reading costs; ExamError where it ends
    early, holds much more, or its checksum is wrong."""
    try:
        parts = list(_members(packed, size, _MOST_BEYOND))
    except IsalError:  # type: ignore[misc]  # Its stub says an instance.
        raise ExamError(ExamProblem.UNREADABLE, "is a damaged gzip file: copy or convert it again") from None
    held = sum(map(len, parts))
    if held < size:
        raise ExamError(ExamProblem.UNREADABLE, f"is cut short, {held} of {size} bytes: copy or convert it again")
    return parts[0] if len(parts) == 1 else b"".join(parts)


_MOST_BEYOND = 1 << 20
"""Unpacked bytes behind the voxels up to which the end of a gzip member, with its checksum, is looked for."""


def _members(packed: bytes, most: int, beyond: int = 0) -> Iterator[bytes]:
    """The unpacked members of a gzip file (pigz and bgzip write several), `most` bytes in all; a cut one as far as it
    goes. Of one that has more than `most` its end and checksum are looked for within `beyond` bytes more.

    Raises:
        ExamError(UNREADABLE): the end is further away.
        IsalError: the file is damaged.
    """
    while most > 0 and packed:
        inflate = isal_zlib.decompressobj(wbits=31)
        part = bytes(inflate.decompress(packed, most))
        yield part
        most -= len(part)
        if not inflate.eof:
            if beyond and most == 0:
                inflate.decompress(inflate.unconsumed_tail, beyond)
                if not inflate.eof and inflate.unconsumed_tail:
                    raise ExamError(ExamProblem.UNREADABLE, "holds more than its header says: copy or convert it again")
            return
        packed = inflate.unused_data.lstrip(b"\0")


def nifti_image(volume: Volume) -> Any:
    """A volume as nibabel's image, in mm, with its affine as both transforms."""
    image = nibabel.Nifti1Image(np.asarray(volume.array), volume.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1)
    return image


def save_nifti(volume: Volume, path: Path | str) -> Path:
    """The path of the NIfTI written from a volume; `.gz` in the name compresses, without it the file can be
    memory-mapped.

    The file appears whole or not at all: it is written beside, synced, and renamed.
    """
    path = Path(path)
    image = nifti_image(volume)
    with atomic.replacing(path) as temp, temp.open("wb") as file:
        if path.name.endswith(".gz"):
            # Neither time nor name in the header: equal volumes are equal files.
            with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)
    return path


def to_sitk(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image: LPS, direction cosines made orthonormal (they are to 1e-3 already)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T))
    _set_grid(image, volume)
    return image


def _set_grid(image: sitk.Image, volume: Volume) -> None:
    lps = np.diag([-1.0, -1.0, 1.0])
    spacing = np.array(volume.spacing_mm)
    left, _, right = np.linalg.svd(lps @ (volume.affine[:3, :3] / spacing))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((lps @ volume.affine[:3, 3]).tolist())
    image.SetDirection((left @ right).ravel().tolist())


INTERPOLATORS = {0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}
MARGIN = {0: 1, 1: 1, 3: 16}
"""Voxels around a part of the image that its interpolation looks at (a B-spline's prefilter has died down after 16)."""
SLAB = 48
"""Slices resampled at a time: memory for a part of the image and not for several copies of the whole."""


def resample_to(moving: Volume, reference: Volume, order: int = 1, fill: float = 0.0, dtype: Any = None) -> Volume:
    """`moving` on the grid of `reference`, as `dtype` (default: its own); `fill` where it does not reach.

    order: 0 nearest (labels), 1 linear, 3 cubic B-spline. Where the grids agree, nothing is resampled. Integers are
    rounded and kept within the range of the type. Works in slabs, so that it needs the memory of the result and
    little more.
    """
    dtype = np.dtype(dtype or moving.array.dtype)
    same = moving.same_grid(reference, tolerance_mm=1e-3)
    if same and moving.array.dtype == dtype:
        return Volume(moving.array, reference.affine)
    out = np.empty(reference.shape, dtype=dtype, order="F")
    for begin in range(0, reference.shape[2], SLAB):
        slab: Box = (slice(None), slice(None), slice(begin, min(begin + SLAB, reference.shape[2])))
        part = moving.array[slab] if same else _resampled(moving, reference.crop(slab), order, fill)
        if np.issubdtype(dtype, np.integer) and part.dtype != dtype:
            limits = np.iinfo(dtype)
            part = np.clip(np.rint(part), limits.min, limits.max)
        out[slab] = part
    return Volume(out, reference.affine)


def _resampled(moving: Volume, reference: Volume, order: int, fill: float) -> NDArray[Any]:
    """The voxels of `moving` on a grid, from the part of it that the grid covers."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in reference.shape])).reshape(3, -1).T
    ijk = moving.to_ijk(reference.to_ras_mm(corners))
    low = np.floor(ijk.min(axis=0)).astype(int) - MARGIN[order]
    high = np.ceil(ijk.max(axis=0)).astype(int) + MARGIN[order] + 1
    low, high = np.maximum(low, 0), np.minimum(high, moving.shape)
    if (low >= high).any():
        return np.full(reference.shape, fill, dtype=moving.array.dtype)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high))
    grid = sitk.Image(list(reference.shape), sitk.sitkUInt8)
    _set_grid(grid, reference)
    part = to_sitk(moving.crop((i, j, k)))
    return np.asarray(
        sitk.GetArrayFromImage(sitk.Resample(part, grid, sitk.Transform(), INTERPOLATORS[order], float(fill))).T
    )
