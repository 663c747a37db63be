"""Where everything that is written lies: the folders below PETAR_HOME."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_NO_FILE_NAME = re.compile(r'[\x00-\x1f/\\%:*?"<>|\x7f]')


def folder_name(exam_id: str) -> str:
    """Name of an exam's folder: its id, with what no file system takes, or what would lead out of the folder above, as
    %XX.
    """
    if not exam_id.strip("."):
        return exam_id.replace(".", "%2E")
    return _NO_FILE_NAME.sub(lambda match: f"%{ord(match[0]):02X}", exam_id)


def exam_of(name: str) -> str:
    """Exam whose folder has this name."""
    return unquote(name)


@dataclass(frozen=True)
class Home:
    """The folders below PETAR_HOME. Nothing is made until it is written to."""

    root: Path

    @property
    def lake(self) -> Path:
        """Parquet tables, one folder a table."""
        return self.root / "lake"

    @property
    def volumes(self) -> Path:
        """One folder an exam: SUV.nii and CT.nii, RAS+, uncompressed."""
        return self.root / "volumes"

    @property
    def masks(self) -> Path:
        """One folder an exam: a cropped mask per lesion."""
        return self.root / "masks"

    @property
    def manifest(self) -> Path:
        """The last observation of the cohort and the fingerprints by file state."""
        return self.root / "manifest"

    @property
    def checkpoints(self) -> Path:
        """One folder a training stage."""
        return self.root / "checkpoints"

    @property
    def exports(self) -> Path:
        """One folder an exam: its lesions for viewers."""
        return self.root / "exports"

    @property
    def gallery(self) -> Path:
        """The review pages, which open from disk."""
        return self.root / "gallery"

    @property
    def reviews(self) -> Path:
        """Files of answers that reviewers saved."""
        return self.root / "reviews"

    @property
    def answers(self) -> Path:
        """What language models answered, kept so that nothing is asked twice."""
        return self.root / "answers.sqlite"

    @property
    def catalog(self) -> Path:
        """The DuckDB file that people query."""
        return self.root / "petar.duckdb"

    def volume_folder(self, exam_id: str) -> Path:
        """Folder of one exam's volumes."""
        return self.volumes / folder_name(exam_id)

    def mask_folder(self, exam_id: str) -> Path:
        """Folder of one exam's masks."""
        return self.masks / folder_name(exam_id)
