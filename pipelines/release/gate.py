"""The privacy gate of a release: ids under keyed hashes and texts without identifiers, or no release."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.catalog.versions import Accepted, read_accepted, read_manifest
from pipelines.cohort.manifest import read_whole_manifest
from pipelines.cohort.privacy.deidentification import Deidentifier, PrivacyError, Pseudonyms, privacy_state
from pipelines.cohort.privacy.header_identifiers import names_in_folder
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from pipelines.settings import PrivacySettings
from pipelines.tables.home import Home
from pipelines.tables.safe_text import technical_text


class ReleaseError(ValueError):
    """A release cannot be made or is not what its checksums say; the message says what to do."""


@dataclass(frozen=True)
class PrivacyGate:
    """How ids and texts of a home go into a release.

    Args:
        hashed: the home's ids are keyed hashes already.
        masked: its texts are masked already.
        deidentifier: does what is left to do; null where nothing is.
        folders: folder of each exam in the cohort, for the names in its image headers.
    """

    hashed: bool
    masked: bool
    deidentifier: Deidentifier | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)

    def exam(self, exam_id: str) -> str:
        """Name of an exam in the release."""
        return exam_id if self.hashed or self.deidentifier is None else self.deidentifier.exam(exam_id)

    def patient(self, patient_id: str) -> str:
        """Name of a patient in the release."""
        return patient_id if self.hashed or self.deidentifier is None else self.deidentifier.patient(patient_id)

    def study_date(self, value: str | None, patient_id: str) -> str | None:
        """Day of an exam, moved as all dates of its patient are."""
        if value is None or self.masked or self.deidentifier is None:
            return value
        return self.deidentifier.study_date(value, self.patient(patient_id))

    def words(self, value: str | None) -> str | None:
        """A header's or a table's value with its technical words alone (scanner, tracer)."""
        return None if value is None else technical_text(value) or None

    def names(self, exam_id: str) -> frozenset[str]:
        """Names of people in the headers of an exam's images.

        Raises:
            ReleaseError: its texts are to be masked and its folder is not there.
        """
        if self.masked:
            return frozenset()
        folder = self.folders.get(exam_id)
        if folder is None or not folder.is_dir():
            raise ReleaseError(
                "expected the cohort's folders, whose image headers name people to be masked in texts, got an exam"
                " without its folder: mount the cohort, or curate with privacy.mask_reports = true"
            )
        return frozenset(names_in_folder(folder))

    def place(self, value: str | None) -> str | None:
        """An organ or a part of it, which a reviewer may have typed, as the release has it."""
        return value if not value or self.masked or self.deidentifier is None else self.deidentifier.place(value)

    def text(self, text: str | None, exam_id: str, patient_id: str, names: frozenset[str]) -> str | None:
        """A text of an exam as the release has it: its identifiers hidden, its dates moved."""
        if not text or self.masked or self.deidentifier is None:
            return text
        return self.deidentifier.report(text, (exam_id, patient_id), names, self.patient(patient_id))[0]


def accepted_version(home: Home, name: str) -> Accepted:
    """The version that was accepted under a name.

    Raises:
        ReleaseError: there is none.
    """
    accepted = read_accepted(home)
    if name not in accepted:
        known = ", ".join(accepted) or "none; accept one with `petar accept NAME --who YOU`"
        raise ReleaseError(f"expected the name of an accepted curation, got {name!r}: accepted are {known}")
    return accepted[name]


def open_gate(home: Home, name: str, key: bytes | None) -> PrivacyGate:
    """The gate of an accepted curation.

    Args:
        home: where it was accepted.
        name: under which it was.
        key: what ids are hashed with; needed where it has plain ids or texts.

    Raises:
        ReleaseError: there is no such curation, or its ids or texts are plain and there is no key.
    """
    state = privacy_state(home.manifest)
    # All versions of a home have ids of one kind; texts may have been masked later.
    hashed = bool(state["hash_ids"])
    masked = bool(read_manifest(home, accepted_version(home, name).version).get("masked"))
    if hashed and masked:
        return PrivacyGate(hashed, masked)
    if key is None:
        plain = " and ".join(word for word, done in (("ids", hashed), ("texts", masked)) if not done)
        raise ReleaseError(
            f"expected a pseudonymised curation, got one with plain {plain}: make a key with `openssl rand -hex 32`,"
            " keep it outside of PETAR_HOME, and set PETAR_ID_KEY_FILE to it; or curate with hash_ids and mask_reports"
            " in [privacy]"
        )
    pseudonyms = Pseudonyms(key)
    if hashed and state["key"] != pseudonyms.check:
        raise ReleaseError("expected the key that the ids were hashed with, got another: set PETAR_ID_KEY_FILE to it")
    try:
        switches, words = PrivacySettings(hash_ids=True, mask_reports=True), package_vocabulary().lexicon.words
        doing = Deidentifier(switches, pseudonyms, home.links, place_words=words)
    except PrivacyError as error:
        raise ReleaseError(str(error)) from error
    folders = {entry.exam_id: Path(entry.folder) for entry in read_whole_manifest(home.manifest) if entry.folder}
    return PrivacyGate(hashed, masked, doing, folders)
