"""Mapping files (TOML): what the names of a data set mean. Those beside this module are used where none is given."""

import re
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipelines.cohort.importers.plan import ImporterError
from pipelines.tables.safe_text import error_reason

Layout = Literal["nnunet", "autopet", "bids", "table"]
LAYOUTS: tuple[Layout, ...] = ("nnunet", "autopet", "bids", "table")
TO_FILL = "?"
"""Stands in a mapping for a name that only who has the data set knows."""


def _pattern(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError("expected a regular expression") from error
    if groups != 1:
        raise ValueError("expected a regular expression with one group in parentheses")
    return text


Lesions = Literal["whole", "labels", "components"]
LESION_WORDS = ("lesion", "tumor", "tumour", "gtv", "roi", "metasta", "cancer", "carcinoma", "malign", "node")
"""One of them in the name of a label or a mask says that it shows lesions, where a set names several."""
Pattern = Annotated[str, AfterValidator(_pattern)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NnunetMapping(_Model):
    """nnU-Net: which channel is what, what the name of a case tells, and words in names of labels that say lesion."""

    pet_channel: int | None = Field(None, ge=0, le=9999)
    ct_channel: int | None = Field(None, ge=0, le=9999)
    patient: Pattern | None = None
    tracer: Pattern | None = None
    lesions: Lesions = "components"
    lesion: tuple[str, ...] = LESION_WORDS


class AutopetMapping(_Model):
    """Folders of a patient's studies: names of the files, without their ending; the first that is there counts."""

    pet: tuple[str, ...] = ("SUV", "PET")
    ct: tuple[str, ...] = ("CTres", "CT")
    mask: tuple[str, ...] = ("SEG",)
    tracer: str | None = None


class BidsMapping(_Model):
    """BIDS-PET: columns of participants.tsv, and suffixes of files."""

    weight: tuple[str, ...] = ("weight", "weight_kg", "body_weight", "bodyweight")
    ct: tuple[str, ...] = ("ct", "CT")
    mask: tuple[str, ...] = ("mask", "dseg")
    split: tuple[str, ...] = ("split",)
    lesion: tuple[str, ...] = LESION_WORDS


class TableColumns(_Model):
    """Ours = theirs. `exam` and `pet` are needed; of others only what the table has."""

    exam: str
    pet: str
    patient: str | None = None
    ct: str | None = None
    mask: str | None = None
    label: str | None = None
    text: str | None = None
    report: str | None = None
    split: str | None = None
    tracer: str | None = None
    study_date: str | None = None


class TableMapping(_Model):
    """A table of exams or of findings; paths in it start at the table's folder or at `root`. `lesions`: what of a mask
    is a lesion; not set: the whole where the table has texts of masks, else each connected part."""

    columns: TableColumns
    lesions: Lesions | None = None
    root: Path | None = None
    is_suv: bool = True


SetMapping = NnunetMapping | AutopetMapping | BidsMapping | TableMapping
_MODELS: dict[str, type[NnunetMapping | AutopetMapping | BidsMapping | TableMapping]] = {
    "nnunet": NnunetMapping,
    "autopet": AutopetMapping,
    "bids": BidsMapping,
    "table": TableMapping,
}


def read_mapping(layout: Layout, path: Path | None = None, seen: Sequence[str] = ()) -> SetMapping:
    """The mapping of a file, else the one that comes with the package.

    Args:
        layout: whose mapping it is.
        path: the file; the name of a mapping of the package (`petarseg-11k`) is one too.
        seen: columns of the table, for the message where names are left to fill.

    Raises:
        ImporterError: the file is not there or no TOML, a key is unknown, a value is wrong or left to fill.
    """
    packaged = resources.files(__package__) / "mappings" / f"{path or layout}.toml"
    if path is None or (not path.exists() and path.name == str(path) and packaged.is_file()):
        text, name = packaged.read_text("utf-8"), str(packaged)
    else:
        try:
            text, name = path.read_text("utf-8"), str(path)
        except (OSError, UnicodeError):
            raise ImporterError(f"expected a mapping file at {path}, it cannot be read: correct the path") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ImporterError(f"expected TOML in {name}, got {error_reason(error)}: correct the syntax") from None
    empty = sorted(key for key, value in _values(content) if value == TO_FILL)
    if empty:
        raise ImporterError(
            f"expected the names of your table for {', '.join(empty)} in {name}, got {TO_FILL!r}: copy the file, write"
            f" the names of its columns{f' ({_listed(seen)})' if seen else ''}, remove what it does not have, and give"
            " it by --mapping"
        )
    try:
        return _MODELS[layout].model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ImporterError(f"expected a mapping for {layout} in {name}, got {wrong}: correct the file") from None


def _listed(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _values(content: object, at: str = "") -> list[tuple[str, object]]:
    if isinstance(content, dict):
        return [pair for key, value in content.items() for pair in _values(value, f"{at}.{key}".lstrip("."))]
    return [(at, content)]
