"""Settings of a cohort, the file of readers, and a cohort's own words."""

import random
from functools import cache
from importlib import resources
from pathlib import Path

from benchmarks.fuzz import damage
from benchmarks.fuzz.case import Files, Input
from pipelines.reports.llm.readers_file import ReadersError, load_readers
from pipelines.reports.sentences import split_report
from pipelines.reports.vocabulary.errors import VocabularyError
from pipelines.reports.vocabulary.vocabulary import load_vocabulary
from pipelines.settings import ProjectSettings, SettingsError, load_settings

_SETTINGS = """\
readers_file = "readers.toml"
[exam.suv]
norm = "bw"
[consensus]
require_anatomy = true
min_suvmax = 2.5
weights = {rules = 1}
[lesions.contour]
method = "published"
[samples]
val = 0.2
test = 0.2
[privacy]
mask_reports = false
[[evaluation.vlm]]
name = "a"
model = "b"
base_url = "http://127.0.0.1:8000/v1"
"""


def _settings(rng: random.Random) -> Files:
    return {
        "petar.toml": damage.of_toml(_SETTINGS.encode(), rng)
        if rng.random() < 0.9
        else damage.of_bytes(_SETTINGS.encode(), rng)
    }


def _read_settings(folder: Path) -> int:
    found = load_settings(None, folder)
    ProjectSettings.model_validate(found.model_dump())
    return 1


@cache
def _readers_text() -> bytes:
    return (resources.files("pipelines.reports.llm") / "readers.toml").read_bytes()


def _readers(rng: random.Random) -> Files:
    return {"readers.toml": damage.of_toml(_readers_text(), rng)}


def _read_readers(folder: Path) -> int:
    return len(load_readers(folder / "readers.toml").readers)


_CUES = """\
[prior]
cues = ["induction", "post-op"]
patterns = [{ pattern = 'week\\s?\\d+', example = "week 12" }]
[increased]
cues = ["risen"]
"""
_LEXICON = """\
phrase,organ,region,subsite,laterality
recessus glandularis,pancreas,abdomen/pelvis,recess,
silva,lung,chest,,left
"""


def _cues(rng: random.Random) -> Files:
    files = {"cues.toml": _CUES.encode(), "lexicon.csv": _LEXICON.encode()}
    name = rng.choice(sorted(files))
    files[name] = damage.of_toml(files[name], rng) if name == "cues.toml" else damage.of_table(files[name], rng)
    return files


def _read_cues(folder: Path) -> int:
    vocabulary = load_vocabulary(folder)
    return len(split_report("E1", "Induction SUV 8.1 (slice 12) in the silva has risen.", vocabulary))


INPUTS = (
    Input("settings: TOML", 400, _settings, _read_settings, (SettingsError,)),
    Input("readers: TOML", 250, _readers, _read_readers, (ReadersError, SettingsError)),
    Input("cues and lexicon", 250, _cues, _read_cues, (VocabularyError,)),
)
