"""Organs of a CT by TotalSegmentator, where it is installed: a program of its own in an environment of its own."""

import re
import shutil
import subprocess
import tempfile
from collections import deque
from pathlib import Path

from pipelines.imaging.volume import Volume, load_nifti, save_nifti
from pipelines.settings import AnatomySettings
from pipelines.tables.safe_text import error_reason

_OLDEST = 2
"""Release from which the classes are those of `pipelines.imaging.organ_labels`; release 1 had 104 others."""
_VERSION_TIMEOUT_S = 120


class TotalSegmentatorError(RuntimeError):
    """The program is not there, is too old, or failed; the message says what to do."""


class TotalSegmentator:
    """An installed TotalSegmentator."""

    def __init__(self, settings: AnatomySettings) -> None:
        """Raises TotalSegmentatorError where the command is not there, does not tell its version, or is release 1."""
        found = shutil.which(settings.command)
        if found is None:
            raise TotalSegmentatorError(
                f"expected TotalSegmentator's executable, {settings.command!r} is not there or not executable: install "
                "it in an environment of its own and set anatomy.command to its path, or leave that empty"
            )
        self._command, self._settings = found, settings
        self.version = self._read_version()

    def _read_version(self) -> str:
        told = self._run(["--version"], _VERSION_TIMEOUT_S)
        version = re.search(r"\d+(?:\.\d+)+", told)
        if version is None or int(version[0].partition(".")[0]) < _OLDEST:
            raise TotalSegmentatorError(
                f"expected TotalSegmentator {_OLDEST} or later, {self._command} says {told.strip()[:80]!r}: upgrade "
                "it, its classes are others"
            )
        return version[0]

    @property
    def how(self) -> str:
        """Version and model, for the key of what was made."""
        return f"TotalSegmentator {self.version}{' fast' if self._settings.fast else ''}"

    def segment(self, ct: Volume) -> Volume:
        """Label map of the task `total` on the CT's grid. Raises TotalSegmentatorError with the program's own words."""
        with tempfile.TemporaryDirectory(prefix="petar-organs-") as folder:
            source, target = Path(folder) / "ct.nii", Path(folder) / "out" / "organs.nii.gz"
            target.parent.mkdir()
            save_nifti(ct, source)
            options = [
                "-i",
                str(source),
                "-o",
                str(target),
                "--ml",
                "--task",
                "total",
                "--device",
                self._settings.device,
            ]
            said = self._run([*options, *(["--fast"] if self._settings.fast else [])], self._settings.timeout_s)
            # Releases differ in whether they add the suffix themselves.
            written = sorted(p for p in target.parent.rglob("*") if p.is_file() and ".nii" in p.suffixes)
            if len(written) != 1:
                names = ", ".join(p.name for p in written) or "nothing"
                raise TotalSegmentatorError(f"expected one label map, the program wrote {names}: {_last_lines(said)}")
            labels = load_nifti(written[0])
            return Volume(labels.array.copy(), labels.affine)

    def _run(self, arguments: list[str], timeout_s: float) -> str:
        # `env` sets the variable for the child alone, whatever this process's environment is.
        told = [f"TOTALSEG_WEIGHTS_PATH={self._settings.weights}"] if self._settings.weights else []
        command = [*(["env", *told] if told else []), self._command, *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout_s, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise TotalSegmentatorError(
                f"expected {Path(self._command).name} to end within {timeout_s:.0f} s, it did not: raise "
                "anatomy.timeout_s, set anatomy.fast, or use a GPU"
            ) from error
        except OSError as error:
            raise TotalSegmentatorError(
                f"expected {self._command} to run, got: {error_reason(error)}: correct the path of the command"
            ) from error
        if done.returncode:
            said = _last_lines(done.stderr or done.stdout)
            raise TotalSegmentatorError(f"{Path(self._command).name} ended with code {done.returncode}: {said}")
        return done.stdout + done.stderr


def _last_lines(text: str, limit: int = 3) -> str:
    lines = deque((line.strip() for line in text.splitlines() if line.strip()), maxlen=limit)
    return " / ".join(lines) or "it said nothing"
