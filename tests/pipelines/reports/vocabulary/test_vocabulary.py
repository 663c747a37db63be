"""A cohort's own words: from its folder through cutting, reading, deciding and structuring, and into what is stale."""

from pathlib import Path

import pytest

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import TABLES, is_current, open_curation, run_stage, stale_shards
from pipelines.reports.consensus import decide_exam
from pipelines.reports.llm.readers_file import load_readers
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from pipelines.reports.vocabulary.errors import VocabularyError
from pipelines.reports.vocabulary.vocabulary import Vocabulary, load_vocabulary, package_vocabulary
from pipelines.settings import CurationSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.outcomes import Outcome
from pipelines.tables.shards import N_SHARDS

CUES = '[prior]\ncues = ["induction"]\n'
LEXICON = "phrase,organ,region,subsite,laterality\nrecessus glandularis,pancreas,abdomen/pelvis,recess,left\n"
PRIOR = "On the induction PET/CT, the right lower lobe mass had an SUVmax of 11.7 (slice 90)."
PLACE = "Avid focus in the recessus glandularis with SUVmax of 5.2 (slice 90)."


def decided(text: str, vocabulary: Vocabulary | None):
    sentences = split_report("E", text, vocabulary)
    reader = RulesReader("rules", vocabulary or package_vocabulary())
    readings = reader.read(passages_of(sentences, vocabulary))
    return decide_exam(sentences, readings, None, vocabulary)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "reports.csv").write_text(f'exam_id,patient_id,findings\nE1,P1,"{PRIOR}"\nE2,P2,"{PLACE}"\n')
    return folder


class TestVocabulary:
    def test_a_folder_without_own_files_has_the_packages(self, cohort):
        assert load_vocabulary(cohort) is package_vocabulary()
        assert package_vocabulary().version == ""
        assert load_vocabulary(cohort / "nowhere") is package_vocabulary()

    def test_own_cues_and_phrases_count_from_cutting_to_fields(self, cohort):
        (cohort / "cues.toml").write_text(CUES)
        (cohort / "lexicon.csv").write_text(LEXICON)
        own = load_vocabulary(cohort)
        assert [f.outcome for f in decided(PRIOR, None)] == [Outcome.ACCEPTED]
        assert [f.outcome for f in decided(PRIOR, own)] == [Outcome.NOT_CURRENT]
        assert [f.outcome for f in decided(PLACE, None)] == [Outcome.NO_ANATOMY]
        (found,) = decided(PLACE, own)
        assert (found.outcome, found.organ, found.subsite, found.laterality) == (
            Outcome.ACCEPTED,
            "pancreas",
            "recess",
            "left",
        )

    def test_version_is_of_what_the_cohort_adds(self, cohort):
        versions = {""}
        for name, text in (("cues.toml", CUES), ("lexicon.csv", LEXICON), ("cues.toml", CUES + "# more\n")):
            (cohort / name).write_text(text)
            versions.add(load_vocabulary(cohort).version)
        assert len(versions) == 4
        assert load_vocabulary(cohort) is load_vocabulary(cohort)
        assert RulesReader("rules", load_vocabulary(cohort)).version != RulesReader().version

    def test_a_wrong_row_is_told(self, cohort):
        (cohort / "lexicon.csv").write_text(LEXICON.replace("abdomen/pelvis", "belly"))
        with pytest.raises(VocabularyError, match=r"lexicon\.csv, line 2, column 3: "):
            load_vocabulary(cohort)


def test_own_words_make_the_rows_of_reports_stale(cohort, tmp_path):
    home = Home(tmp_path / "home")
    observe_cohort(cohort, home.manifest)

    def curated():
        curation = open_curation(home, CurationSettings(), load_readers(vocabulary=load_vocabulary(cohort)))
        stale = stale_shards(curation)
        for shard in stale:
            for table in TABLES:
                run_stage(curation, table, shard)
        assert all(is_current(curation, shard) for shard in range(N_SHARDS))
        rows = Lake(home.lake).read_table("findings").sort("exam_id")
        return len(stale), dict(zip(rows["exam_id"], rows["outcome"], strict=True))

    assert curated()[1] == {"E1": "accepted", "E2": "no anatomy named"}
    assert curated()[0] == 0
    (cohort / "cues.toml").write_text(CUES)
    assert curated()[1] == {"E1": "not the current exam", "E2": "no anatomy named"}
    (cohort / "lexicon.csv").write_text(LEXICON)
    assert curated()[1] == {"E1": "not the current exam", "E2": "accepted"}
    assert curated()[0] == 0
    (cohort / "cues.toml").unlink()
    assert curated()[1] == {"E1": "accepted", "E2": "accepted"}
