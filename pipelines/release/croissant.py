"""Croissant (MLCommons, version 1.0) of a release: its files as FileSets, its rows as record sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.release.parquet_files import IMAGES

_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_OWN: Mapping[str, str] = {
    "text_model": "Model that wrote the text, where no person did",
    "label": "Value of the lesion in its exam's label map",
    "pet": "PET in SUV, bytes of a NIfTI file (gzip)",
    "ct": "CT in HU on the PET's grid, bytes of a NIfTI file (gzip); null where there is none",
    "labels": "Lesion n of the exam as n, bytes of a NIfTI file (gzip)",
    "mask": "Mask of the lesion, cropped to its box, bytes of a NIfTI file (gzip)",
}
_KINDS = {pa.string(): "sc:Text", pa.int64(): "sc:Integer", pa.float64(): "sc:Float", pa.bool_(): "sc:Boolean"}


def croissant_of(folder: Path, about: Mapping[str, str], descriptions: Mapping[str, str]) -> dict[str, Any]:
    """The JSON-LD of a release.

    Args:
        folder: of the release, with its Parquet files written.
        about: name, description, version, date (YYYY-MM-DD), license (URL or name; may be empty), cite (may be empty).
        descriptions: of columns.
    """
    sets, records = [], []
    for kind in IMAGES:
        files = sorted((folder / "data" / kind).glob("*.parquet"))
        if not files:
            continue
        files_id = f"{kind}-files"
        sets.append(_file_set(files_id, "application/x-parquet", f"data/{kind}/*.parquet"))
        schema = pq.read_schema(files[0])
        key = "exam_id" if kind == "exams" else "lesion_id"
        records.append(
            {
                "@type": "cr:RecordSet",
                "@id": kind,
                "name": kind,
                "key": {"@id": f"{kind}/{key}"},
                "field": [_field(kind, field, files_id, descriptions) for field in schema],
            }
        )
    for format_name, mime, pattern in (
        ("webdataset", "application/x-tar", "webdataset/*/*.tar"),
        ("nnunet", "application/gzip", "nnunet/*/*/*.nii.gz"),
    ):
        if (folder / format_name).is_dir():
            sets.append(_file_set(f"{format_name}-files", mime, pattern))
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about["name"],
        "description": about["description"],
        "version": about["version"],
        "datePublished": about["date"],
        "distribution": sets,
        "recordSet": records,
    }
    return content | {name: about[k] for name, k in (("license", "license"), ("citeAs", "cite")) if about.get(k)}


def _file_set(files_id: str, mime: str, pattern: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": files_id, "name": files_id, "encodingFormat": mime, "includes": pattern}


def _field(kind: str, field: pa.Field, files_id: str, descriptions: Mapping[str, str]) -> dict[str, Any]:
    is_image = field.name in IMAGES[kind]
    source: dict[str, Any] = {"fileSet": {"@id": files_id}, "extract": {"column": field.name}}
    if is_image:
        source["transform"] = {"jsonPath": "bytes"}
    return {
        "@type": "cr:Field",
        "@id": f"{kind}/{field.name}",
        "name": field.name,
        "description": _OWN.get(field.name) or descriptions.get(field.name, field.name.replace("_", " ")),
        # Croissant has no type for other images than pictures: their bytes come as they are.
        "dataType": _KINDS[pa.string() if is_image else field.type],
        "source": source,
    }
