"""Archives in an exam's folder: unpacked to a temporary folder, within a bound, where no image lies beside them."""

import gzip
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.files import MOST_FILES, ExamFiles
from pipelines.imaging.reading.image_files import IMAGE_SUFFIXES
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.safe_text import error_reason

_TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_CHUNK = 1 << 20


def archives_among(files: ExamFiles) -> list[Path]:
    """The zip, tar and gzip files of an exam that may hold DICOM files."""
    return [p for p in files.paths if _kind(p) and not p.name.startswith(".")]


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".zip"):
        return "zip"
    if name.endswith(_TAR_SUFFIXES):
        return "tar"
    return "gzip" if name.endswith(".gz") and not name.endswith((".nii.gz", ".csv.gz", ".json.gz")) else ""


def kinds_of(archives: Sequence[Path]) -> str:
    """What kinds of archives these are, for a message: "zip", "tar (archive)", "gzip"."""
    names = {"zip": "zip archives", "tar": "tar archives", "gzip": "gzip files"}
    return ", ".join(dict.fromkeys(names[_kind(path)] for path in archives))


@contextmanager
def unpacked(archives: Sequence[Path], files: ExamFiles, most_bytes: int) -> Iterator[Path]:
    """A temporary folder with what lies in the archives, each in a folder of its name.

    Names within archives are not followed anywhere: each member becomes a numbered file that keeps its suffix.

    Raises:
        ExamError(UNREADABLE): one is damaged, encrypted, or unpacks to more than `most_bytes`.
    """
    with tempfile.TemporaryDirectory(prefix="petar-exam-") as temp:
        left = _Budget(most_bytes)
        for number, path in enumerate(archives, start=1):
            try:
                _unpack(path, Path(temp) / f"archive {number:04d}", left)
            except ExamError as error:
                raise ExamError(error.problem, f"{files.name(path)} {error.message}") from None
            except Exception as error:
                # Each of the three libraries has errors of its own, and raises others on damaged files.
                why = (
                    "it is encrypted" if "password" in str(error) or "encrypted" in str(error) else error_reason(error)
                )
                raise ExamError(
                    ExamProblem.UNREADABLE,
                    f"{files.name(path)} cannot be unpacked ({why}): unpack it into the exam's folder",
                ) from None
        yield Path(temp)


class _Budget:
    """How many bytes and files may still be unpacked."""

    def __init__(self, most_bytes: int) -> None:
        self._most = self._bytes = most_bytes
        self._files = MOST_FILES

    def copy(self, source: IO[bytes] | gzip.GzipFile, target: Path) -> None:
        """Copies a file, unpacking it on the way."""
        self._files -= 1
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            while data := source.read(_CHUNK):
                self._bytes -= len(data)
                if self._bytes < 0 or self._files < 0:
                    raise ExamError(
                        ExamProblem.UNREADABLE,
                        f"unpacks to more than {self._most >> 20} MiB: unpack it into the exam's folder",
                    )
                out.write(data)


def _unpack(path: Path, target: Path, left: _Budget) -> None:
    kind = _kind(path)
    if kind == "gzip":
        # Slices are packed one by one: beside one another, they are of one series again.
        with gzip.open(path) as source:
            left.copy(source, target.parent / "gzip" / f"{target.name}{_suffix(path.stem)}")
        return
    place = _Places(target)
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            for member in sorted((m for m in archive.infolist() if not m.is_dir()), key=lambda m: m.filename):
                with archive.open(member) as source:
                    left.copy(source, place.of(member.filename))
        return
    with tarfile.open(path) as tar:
        for entry in tar:
            content = tar.extractfile(entry) if entry.isfile() else None
            if content is not None:
                with content:
                    left.copy(content, place.of(entry.name))


class _Places:
    """Where members of an archive are unpacked to: numbered folders and files, for names within may be any. What lay in
    one folder does so again; names that decide what an image is are kept."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._folders: dict[str, Path] = {}
        self._count = 0

    def of(self, name: str) -> Path:
        """The place of the member with this name."""
        inner = PurePosixPath(name.replace("\\", "/"))
        folder = self._folders.setdefault(str(inner.parent), self._target / f"folder {len(self._folders) + 1}")
        self._count += 1
        known = inner.name.lower()
        return folder / (known if known in _IMAGE_NAMES else f"file {self._count:06d}{_suffix(inner.name)}")


def _suffix(name: str) -> str:
    """The end of a name from its last dot, where it is one that can be a file's."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 8 else ""


_IMAGE_NAMES = frozenset(f"{n}{s}" for n in ("suv", "pet", "ct", "ctres") for s in (*IMAGE_SUFFIXES, ".json"))
