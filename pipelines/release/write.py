"""A release of an accepted curation, written whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from pipelines.catalog.versions import read_manifest
from pipelines.release.card import card_of
from pipelines.release.checksums import CHECKSUMS_NAME, write_checksums
from pipelines.release.contents import Contents, ExamImages, ReleaseExam, read_contents, read_images
from pipelines.release.croissant import croissant_of
from pipelines.release.delta_files import write_delta
from pipelines.release.gate import PrivacyGate, ReleaseError
from pipelines.release.nnunet_files import NnunetFiles
from pipelines.release.parquet_files import FILE_SPLITS, ParquetSplit
from pipelines.release.webdataset_files import WebDatasetSplit
from pipelines.settings import ProjectSettings
from pipelines.tables import schemas
from pipelines.tables.home import Home

Format = Literal["parquet", "webdataset", "nnunet", "delta"]
FORMATS: tuple[Format, ...] = get_args(Format)
USUAL_FORMATS: tuple[Format, ...] = ("parquet", "webdataset", "nnunet")


class _Files(Protocol):
    """What writes the exams of a release in one format."""

    def add(self, exam: ReleaseExam, images: ExamImages) -> None:
        """Writes an exam."""
        ...

    def close(self) -> None:
        """Ends its files."""
        ...


@dataclass(frozen=True)
class ReleaseSummary:
    """What a release holds."""

    folder: Path
    n_patients: int
    n_exams: int
    n_lesions: int
    n_bytes: int
    n_without_ct: int


def write_release(
    home: Home,
    name: str,
    target: Path,
    gate: PrivacyGate,
    settings: ProjectSettings = ProjectSettings(),
    formats: Sequence[Format] = USUAL_FORMATS,
    at: Callable[[int, int], None] = lambda done, of: None,
) -> ReleaseSummary:
    """Writes the release of an accepted curation.

    Args:
        home: where it was accepted.
        name: under which it was.
        target: folder of the release; a release that is there is replaced, another folder is not.
        gate: how ids and texts are released.
        settings: splits, and `[release]`.
        formats: what is written; the card, Croissant and checksums always are.
        at: called with exams done and exams in all.

    Raises:
        ReleaseError: see `read_contents` and `PrivacyGate.names`; or the target holds something else.
    """
    if target.exists() and not (target.is_dir() and ((target / CHECKSUMS_NAME).is_file() or not any(target.iterdir()))):
        raise ReleaseError(f"expected a new folder or a release at {target}, got other files: name another by --to")
    contents = read_contents(home, name, gate, settings.samples)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write_exams(contents, made, name, settings, formats, at)
        if "delta" in formats:
            write_delta(contents, made / "delta")
        _describe(home, contents, made, name, settings, formats)
        write_checksums(made)
        made.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return ReleaseSummary(
        target,
        len({exam.row["patient_id"] for exam in contents.exams}),
        len(contents.exams),
        sum(len(exam.lesions) for exam in contents.exams),
        sum(path.stat().st_size for path in target.rglob("*") if path.is_file()),
        sum(exam.ct_path is None for exam in contents.exams),
    )


def _write_exams(
    contents: Contents,
    folder: Path,
    name: str,
    settings: ProjectSettings,
    formats: Sequence[Format],
    at: Callable[[int, int], None],
) -> None:
    """Every exam in each format, read once."""
    size = settings.release.shard_mib << 20
    by_split: dict[str, list[_Files]] = {split: [] for split in FILE_SPLITS}
    for split, files in by_split.items():
        if "parquet" in formats:
            files.append(ParquetSplit(folder / "data", split, size))
        if "webdataset" in formats:
            files.append(WebDatasetSplit(folder / "webdataset", split, size))
    whole: list[_Files] = [NnunetFiles(folder / "nnunet", name)] if "nnunet" in formats else []
    try:
        for n, exam in enumerate(contents.exams, 1):
            images = read_images(exam)
            for one in (*by_split[exam.split], *whole):
                one.add(exam, images)
            at(n, len(contents.exams))
    finally:
        for one in (*(one for files in by_split.values() for one in files), *whole):
            one.close()


def _describe(
    home: Home, contents: Contents, folder: Path, name: str, settings: ProjectSettings, formats: Sequence[Format]
) -> None:
    """The card, Croissant, and what made the release."""
    accepted = contents.accepted
    manifest = read_manifest(home, accepted.version)
    about = {
        "name": name,
        "description": "Lesions in PET/CT exams with their masks, measures and the texts that describe them.",
        # An accepted version never changes; which one it is stands behind the plus (semver).
        "version": f"1.0.0+{accepted.version}",
        "date": accepted.when[:10],
        "license": settings.release.license,
        "cite": settings.release.cite,
    }
    versions = {
        "accepted curation": name,
        "catalog": accepted.version,
        "curation": manifest["curation"],
        **{f"code, {key}": value for key, value in manifest["code"].items()},
    }
    descriptions: dict[str, str] = {}
    for table in ("lesions", "findings", "exams"):
        for column in schemas.describe(table):
            unit = f" [{column.unit}]" if column.unit else ""
            descriptions.setdefault(column.name, f"{column.description}{unit}")
    # UTF-8 whatever the locale: equal bytes everywhere.
    card = card_of(contents, about, versions, settings.release.license, formats)
    (folder / "README.md").write_text(card, "utf-8")
    text = json.dumps(croissant_of(folder, about, descriptions), indent=1, ensure_ascii=False)
    (folder / "croissant.json").write_text(text + "\n", "utf-8")
    told = {"name": name, "versions": versions, "exams": len(contents.exams), "lesions": contents.lesions().height}
    (folder / "release.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
