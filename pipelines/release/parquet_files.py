"""Parquet files of a release: a row an exam with its images, a row a lesion with its mask, by split.

Images are structs of bytes and path with the feature `Nifti` of the package datasets, which loads and streams them; no
other reader needs it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.release.contents import ExamImages, ReleaseExam
from pipelines.tables import schemas

NIFTI = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FILE_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Split -> what files call it, as the package datasets does."""
IMAGES = {"exams": ("pet", "ct", "labels"), "lesions": ("mask",)}
_TYPES = {"String": pa.string(), "Int64": pa.int64(), "Float64": pa.float64(), "Boolean": pa.bool_()}
_FEATURES = {pa.string(): "string", pa.int64(): "int64", pa.float64(): "float64", pa.bool_(): "bool"}


def schema_of(kind: str, row: Mapping[str, Any]) -> pa.Schema:
    """Schema of the rows of `exams` or `lesions`, with the features that the package datasets reads.

    Args:
        kind: which of the two.
        row: any row, for the names of its columns.
    """
    known = {**schemas.types_of("samples"), **schemas.types_of("findings"), **schemas.types_of("lesions")}
    known = {**known, **schemas.types_of("exams")} if kind == "exams" else known
    own = {"lesion_id": pa.string(), "text_model": pa.string(), "label": pa.int64(), "n_lesions": pa.int64()}
    types = {name: own.get(name) or _TYPES[str(known[name])] for name in row}
    features: dict[str, Any] = {name: {"dtype": _FEATURES[t], "_type": "Value"} for name, t in types.items()}
    features |= {name: {"_type": "Nifti"} for name in IMAGES[kind]}
    fields = [*types.items(), *((name, NIFTI) for name in IMAGES[kind])]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


class ParquetSplit:
    """The files of one split, begun anew where one has grown large; a row group an exam, so that streams are short."""

    def __init__(self, folder: Path, split: str, shard_bytes: int) -> None:
        self._folder, self._name, self._shard_bytes = folder, FILE_SPLITS[split], shard_bytes
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._n_files = dict.fromkeys(IMAGES, 0)
        self._sizes = dict.fromkeys(IMAGES, 0)

    def add(self, exam: ReleaseExam, images: ExamImages) -> None:
        """Writes an exam and its lesions."""
        pictures = {"pet": images.pet, "ct": images.ct, "labels": images.labels}
        self._write("exams", [{**exam.row, **_structs(exam.exam_id, pictures)}])
        rows = [
            {**row, **_structs(f"{exam.exam_id}-{row['label']}", {"mask": mask})}
            for row, mask in zip(exam.lesions, images.masks, strict=True)
        ]
        self._write("lesions", rows)

    def close(self) -> None:
        """Ends the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        size = sum(len(row[name]["bytes"]) for row in rows for name in IMAGES[kind] if row[name])
        if kind in self._writers and self._sizes[kind] + size > self._shard_bytes:
            self._writers.pop(kind).close()
            self._sizes[kind] = 0
        plain = {name: value for name, value in rows[0].items() if name not in IMAGES[kind]}
        schema = schema_of(kind, plain)
        if kind not in self._writers:
            path = self._folder / kind / f"{self._name}-{self._n_files[kind]:05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Images are packed already.
            codecs = {f"{name}.bytes" if name in IMAGES[kind] else name: "zstd" for name in plain}
            self._writers[kind] = pq.ParquetWriter(path, schema, compression=codecs, store_schema=True)
            self._n_files[kind] += 1
        self._writers[kind].write_table(pa.Table.from_pylist([dict(row) for row in rows], schema))
        self._sizes[kind] += size


def _structs(stem: str, pictures: Mapping[str, bytes | None]) -> dict[str, dict[str, Any] | None]:
    return {
        name: None if data is None else {"bytes": data, "path": f"{stem}.{name}.nii.gz"}
        for name, data in pictures.items()
    }
