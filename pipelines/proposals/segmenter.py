"""A segmenter of others that proposes lesions: one command for an exam, in an environment of its own."""

import shlex
import shutil
import subprocess
import tempfile
from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.volume import Volume, load_nifti, resample_to, save_nifti
from pipelines.settings import ProposalSettings

LESION_LABEL = 1
"""Value of lesions in the label map that a command writes; other values are left out."""
LEAST_VOXELS = 3
"""A component of fewer voxels is noise of the outline."""


class SegmenterError(RuntimeError):
    """The command is wrong, is not there, or failed; the message says what to do."""


class Segmenter:
    """The command of the settings: a template with {suv}, {ct} (may be left out) and {out}."""

    def __init__(self, settings: ProposalSettings) -> None:
        """Raises SegmenterError for a template without {suv} and {out}, or whose program is not there."""
        try:
            self._parts = shlex.split(settings.command)
        except ValueError as error:
            raise SegmenterError(f"expected a command in proposals.command, got one that is cut off: {error}") from None
        given = " ".join(self._parts)
        missing = [name for name in ("{suv}", "{out}") if name not in given]
        if missing:
            raise SegmenterError(
                f"expected {' and '.join(missing)} in proposals.command, got {settings.command!r}: name the files that "
                "the program reads and writes"
            )
        if shutil.which(self._parts[0]) is None:
            raise SegmenterError(
                f"expected a program, proposals.command begins with {self._parts[0]!r}, which is not there or not "
                "executable: correct its path"
            )
        self.reads_ct = "{ct}" in given
        self.version = settings.command
        self._timeout_s = settings.command_timeout_s

    def components(self, suv: Volume, ct: Volume | None, exam_id: str) -> list[NDArray[np.int64]]:
        """Voxels (n, 3) of each lesion that the command finds in an exam, the hottest first; none is a result too.

        Args:
            suv: RAS+.
            ct: HU on the grid of the PET, or null.
            exam_id: for messages.

        Raises:
            SegmenterError: the exam lacks what the command reads, or the command failed or wrote no label map.
        """
        if self.reads_ct and ct is None:
            raise SegmenterError(f"expected a CT for {{ct}} of proposals.command, exam {exam_id} has none")
        with tempfile.TemporaryDirectory(prefix="petar-proposals-") as folder:
            paths = {name: Path(folder) / f"{name}.nii.gz" for name in ("suv", "ct", "out")}
            save_nifti(suv, paths["suv"])
            if ct is not None and self.reads_ct:
                save_nifti(ct, paths["ct"])
            self._run([_filled(part, paths) for part in self._parts])
            if not paths["out"].is_file():
                raise SegmenterError(
                    f"expected a label map at {{out}}, {self._parts[0]} wrote none of exam {exam_id}: correct it"
                )
            written = load_nifti(paths["out"])
            labels = Volume(np.asarray(written.array).copy(), written.affine).canonical()
        if not labels.same_grid(suv):
            labels = resample_to(labels, suv, order=0, fill=0)
        inside = np.rint(np.asarray(labels.array)) == LESION_LABEL
        parts, count = ndimage.label(inside, np.ones((3, 3, 3)))
        found = [np.argwhere(parts == n) for n in range(1, count + 1)]
        found = [ijk for ijk in found if len(ijk) >= LEAST_VOXELS]
        return sorted(found, key=lambda ijk: (-float(suv.array[tuple(ijk.T)].max()), *ijk[0].tolist()))

    def _run(self, command: list[str]) -> None:
        name = Path(command[0]).name
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise SegmenterError(
                f"expected {name} to end within {self._timeout_s:.0f} s, it did not: raise proposals.command_timeout_s"
            ) from None
        except OSError as error:
            raise SegmenterError(f"expected {name} to run, got {error.strerror}: correct proposals.command") from None
        if done.returncode:
            lines = deque((s.strip() for s in (done.stderr or done.stdout).splitlines() if s.strip()), maxlen=3)
            raise SegmenterError(f"{name} ended with code {done.returncode}: {' / '.join(lines) or 'it said nothing'}")


def _filled(part: str, paths: dict[str, Path]) -> str:
    for name, path in paths.items():
        part = part.replace(f"{{{name}}}", str(path))
    return part
