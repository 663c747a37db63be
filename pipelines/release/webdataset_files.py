"""WebDataset shards of a release: a sample an exam, `<exam>.pet.nii.gz`, `.ct.nii.gz`, `.labels.nii.gz`, `.json`.

Loaders refuse samples that differ in their members, so exams without a CT are in shards of their own.
"""

import io
import json
import tarfile
from pathlib import Path

from pipelines.release.contents import ExamImages, ReleaseExam
from pipelines.release.parquet_files import FILE_SPLITS


class WebDatasetSplit:
    """The shards of one split, begun anew where one has grown large."""

    def __init__(self, folder: Path, split: str, shard_bytes: int) -> None:
        self._folder, self._name, self._shard_bytes = folder, FILE_SPLITS[split], shard_bytes
        self._shards: dict[str, tarfile.TarFile] = {}
        self._n_shards: dict[str, int] = {}
        self._sizes: dict[str, int] = {}

    def add(self, exam: ReleaseExam, images: ExamImages) -> None:
        """Writes an exam as one sample."""
        said = {**exam.row, "lesions": [dict(row) for row in exam.lesions]}
        members = {"pet.nii.gz": images.pet, "ct.nii.gz": images.ct, "labels.nii.gz": images.labels}
        members["json"] = json.dumps(said, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
        kind = "pet_ct" if images.ct is not None else "pet"
        shard = self._shard(kind, sum(len(data) for data in members.values() if data))
        for name, data in sorted(members.items()):
            if data is not None:
                # Neither time, owner nor mode of this machine.
                entry = tarfile.TarInfo(f"{exam.exam_id}.{name}")
                entry.size, entry.mode = len(data), 0o644
                shard.addfile(entry, io.BytesIO(data))

    def close(self) -> None:
        """Ends the shards."""
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    def _shard(self, kind: str, size: int) -> tarfile.TarFile:
        if kind in self._shards and self._sizes[kind] + size > self._shard_bytes:
            self._shards.pop(kind).close()
        if kind not in self._shards:
            number = self._n_shards.get(kind, 0)
            path = self._folder / kind / f"{self._name}-{number:05d}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._shards[kind] = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self._n_shards[kind], self._sizes[kind] = number + 1, 0
        self._sizes[kind] += size
        return self._shards[kind]
