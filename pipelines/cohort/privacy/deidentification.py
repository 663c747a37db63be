"""De-identification of a cohort: its ids and report texts as the manifest and every table hold them.

Both switches are off by default (`[privacy]` of petar.toml): ids are the cohort's own and texts are as they were
written; identifiers in texts are counted all the same. Nothing after it sees the originals.
"""

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.cohort.privacy import dates
from pipelines.cohort.privacy.presidio import installed_presidio, presidio_version
from pipelines.cohort.privacy.text_identifiers import counts_of, mask, place_alone, record_ids, scan
from pipelines.settings import PrivacySettings
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.provenance import code_version
from pipelines.tables.safe_text import REMOVED, technical_text

KEY_VARIABLE = "PETAR_ID_KEY"
KEY_FILE_VARIABLE = "PETAR_ID_KEY_FILE"
SHORTEST_KEY = 16
"""Characters; a shorter key could be found by trying."""
_MAKE_A_KEY = "make one with `openssl rand -hex 32`, keep it outside PETAR_HOME, and set PETAR_ID_KEY_FILE to it"


class PrivacyError(ValueError):
    """The privacy settings cannot be applied; the message says what to do. Nothing was written."""


@dataclass(frozen=True)
class Pseudonyms:
    """Keyed hashes (HMAC-SHA256, 80 bits) of ids: equal for equal ids under one key, and of no use without it."""

    key: bytes = field(repr=False)

    def exam(self, exam_id: str) -> str:
        """Name of an exam: E and 20 hex digits."""
        return "E" + self._digest("exam", exam_id)

    def patient(self, patient_id: str) -> str:
        """Name of a patient: P and 20 hex digits. The shard and the split follow from it, so they never move."""
        return "P" + self._digest("patient", patient_id)

    @property
    def check(self) -> str:
        """Tells one key from another, and nothing about either."""
        return self._digest("check", "")

    def fingerprint(self, text: str) -> str:
        """Keyed hash of a text, so that nobody without the key can try texts against it."""
        return self._digest("text", text)

    def _digest(self, kind: str, value: str) -> str:
        return hmac.new(self.key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:20]


@dataclass(frozen=True)
class Deidentifier:
    """De-identification of ids and report texts. `links`: folder of links from hashed names to exams."""

    settings: PrivacySettings = field(default_factory=PrivacySettings)
    pseudonyms: Pseudonyms | None = None
    links: Path | None = None
    secret: bytes | None = field(default=None, repr=False)
    """What dates are moved by where there is no key; with neither they are hidden."""
    place_words: frozenset[str] = field(default=frozenset(), repr=False)
    """Words of places in the body, in lower case, which stay where somebody types such a place."""

    def __post_init__(self) -> None:
        if self.settings.hash_ids and (self.pseudonyms is None or self.links is None):
            raise PrivacyError(f"expected a key, for hash_ids is on ([privacy] of petar.toml), got none: {_MAKE_A_KEY}")

    def exam(self, exam_id: str) -> str:
        """Name of an exam after de-identification."""
        return self.pseudonyms.exam(exam_id) if self._hashes and self.pseudonyms else exam_id

    def patient(self, patient_id: str) -> str:
        """Name of a patient after de-identification."""
        return self.pseudonyms.patient(patient_id) if self._hashes and self.pseudonyms else patient_id

    def days_back(self, patient: str) -> int | None:
        """By how many days all dates of a patient are moved back, in texts, columns and exports; None where they stay
        (reports are not masked), or are hidden (no secret).

        Args:
            patient: name of the patient after de-identification.
        """
        secret = self.pseudonyms.key if self.pseudonyms else self.secret
        return dates.days_back(secret, patient) if self.settings.mask_reports and secret else None

    def study_date(self, value: str | None, patient: str) -> str | None:
        """A column's date as it goes on: unchanged where reports are not masked, else moved, as YYYY-MM-DD, and None
        where it is none.

        Args:
            value: as the column has it, in any form.
            patient: name of the patient after de-identification.
        """
        if not self.settings.mask_reports:
            return value
        days = self.days_back(patient)
        return dates.moved_date(value, days) if days is not None else None

    def tracer(self, value: str | None) -> str | None:
        """A column's tracer as it goes on: where reports are masked the words of radiopharmaceuticals alone."""
        if value is None or not self.settings.mask_reports:
            return value
        return technical_text(value).replace(REMOVED, "").strip() or None

    def report(
        self, text: str, ids: Iterable[str], names: Iterable[str] = (), patient: str | None = None
    ) -> tuple[str, dict[str, int]]:
        """(text as it goes on, identifiers found in it by kind).

        Args:
            text: the report.
            ids: those of the exam and the patient.
            names: those of people in the headers of its images.
            patient: name of the patient after de-identification, by which dates are moved; None hides them.
        """
        presidio = installed_presidio()
        found = scan(text, ids, names, presidio.spans(text) if presidio else ())
        hidden = found if self.settings.mask_reports else (*record_ids(text, ids),) if self._hashes else ()
        return mask(text, hidden, self.days_back(patient) if patient is not None else None), counts_of(found)

    def note(self, text: str, patient: str) -> str:
        """What somebody wrote beside the reports (a correction), as it goes on: masked where reports are.

        Args:
            text: a value or a message that quotes one.
            patient: name of the patient after de-identification.
        """
        return self.report(text, (), (), patient)[0] if self.settings.mask_reports else text

    def place(self, text: str) -> str:
        """A place in the body that somebody typed, as it goes on: where reports are masked its words alone."""
        return place_alone(text, self.place_words) if self.settings.mask_reports else text

    def report_fingerprint(self, *parts: str | None) -> str:
        """Hash of what a report says and of how it is masked: an unchanged one need not be scanned again."""
        parts = (*parts, presidio_version()) if presidio_version() else parts
        if self.settings == PrivacySettings():
            return hash_of(*parts)
        drawn = hash_of(self.secret.decode("latin-1")) if self.secret and self.settings.mask_reports else None
        whole = hash_of(*parts, self.settings.mask_reports, self.settings.hash_ids, drawn, code_version(__name__))
        return self.pseudonyms.fingerprint(whole) if self.pseudonyms else whole

    @property
    def is_private(self) -> bool:
        """Whether anything is to be hidden: ids or identifiers in texts."""
        return self.settings.mask_reports or self.settings.hash_ids

    def folder(self, exam_id: str, folder: Path) -> Path:
        """Where an exam's images are found after de-identification: the folder itself, or a link with the exam's hashed
        name.
        """
        if not self._hashes or self.links is None:
            return folder
        self.links.mkdir(mode=0o700, parents=True, exist_ok=True)
        link = self.links / self.exam(exam_id)
        if not link.is_symlink() or os.readlink(link) != str(folder.absolute()):
            link.unlink(missing_ok=True)
            link.symlink_to(folder.absolute(), target_is_directory=True)
        return link

    def keep_links(self, exam_ids: Iterable[str]) -> None:
        """Removes the links of exams that left the cohort."""
        if self._hashes and self.links is not None and self.links.is_dir():
            wanted = {self.exam(e) for e in exam_ids}
            for link in self.links.iterdir():
                if link.is_symlink() and link.name not in wanted:
                    link.unlink()

    @property
    def _hashes(self) -> bool:
        return self.settings.hash_ids

    def check_manifest(self, manifest_folder: Path) -> None:
        """Nothing where a manifest was made with these ids, or is new.

        Raises:
            PrivacyError: it holds ids of another kind, or of another key: both would lie side by side in the lake.
        """
        path = manifest_folder / _STATE_NAME
        before = privacy_state(manifest_folder)
        if not path.exists() and not any(manifest_folder.glob("[0-9][0-9].json")):
            return
        if before["hash_ids"] != self._hashes:
            were, now = ("hashed", "plain") if before["hash_ids"] else ("plain", "hashed")
            raise PrivacyError(
                f"expected {were} ids, as everything in {manifest_folder.parent} has, got hash_ids = "
                f"{str(self._hashes).lower()}: curate with {now} ids into a new PETAR_HOME"
            )
        if self._hashes and self.pseudonyms is not None and before["key"] != self.pseudonyms.check:
            raise PrivacyError(
                f"expected the key that {manifest_folder.parent} was curated with, got another one: set "
                f"{KEY_FILE_VARIABLE} to that key, or curate into a new PETAR_HOME"
            )

    def note_manifest(self, manifest_folder: Path) -> None:
        """Writes down which kind of ids a manifest holds; of the key only what tells it from another."""
        key = self.pseudonyms.check if self._hashes and self.pseudonyms else None
        state = {"hash_ids": self._hashes, "key": key, "mask_reports": self.settings.mask_reports}
        atomic.write_bytes(manifest_folder / _STATE_NAME, json.dumps(state).encode())


def open_secret(home: Home) -> bytes:
    """The secret beside a home that dates are moved by where there is no key: drawn at the first call, readable by its
    owner alone.
    """
    path = home.secret
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(drawn, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_hex(32).encode())
        # A link is made by one of several that draw at once, and never half written.
        with suppress(FileExistsError):
            os.link(drawn, path)
        drawn.unlink()
    return path.read_bytes()


def is_private_home(manifest_folder: Path) -> bool:
    """Whether a home was observed with hashed ids or masked reports: nothing that people write into it may name
    anybody in its tables.
    """
    state = privacy_state(manifest_folder)
    return bool(state["hash_ids"] or state["mask_reports"])


def privacy_state(manifest_folder: Path) -> dict[str, Any]:
    """How a home was last observed: `hash_ids`, `mask_reports`, and `key`, which tells the key from another."""
    path = manifest_folder / _STATE_NAME
    state = json.loads(path.read_text()) if path.exists() else {}
    return {"hash_ids": False, "mask_reports": False, "key": None, **state}


_STATE_NAME = "privacy.json"
NO_DEIDENTIFICATION = Deidentifier()
"""Changes nothing, counts identifiers."""


def read_key(environment: Mapping[str, str], home: Home) -> bytes | None:
    """The key that PETAR_ID_KEY holds or PETAR_ID_KEY_FILE names; None where neither is set.

    Raises:
        PrivacyError: the file can not be read or lies in the home, or the key is too short.
    """
    name = environment.get(KEY_FILE_VARIABLE, "")
    key = environment.get(KEY_VARIABLE, "").strip().encode()
    if not key and name:
        path = Path(name).absolute()
        if path.resolve().is_relative_to(home.root.resolve()):
            raise PrivacyError(f"expected a key file outside of {home.root}, got {path}: {_MAKE_A_KEY}")
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            raise PrivacyError(
                f"expected a key in {path} ({KEY_FILE_VARIABLE}), got {error.strerror}: {_MAKE_A_KEY}"
            ) from error
    elif not key:
        return None
    if len(key) < SHORTEST_KEY:
        raise PrivacyError(f"expected a key of at least {SHORTEST_KEY} characters, got {len(key)}: {_MAKE_A_KEY}")
    return key
