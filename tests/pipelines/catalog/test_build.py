"""The catalog: views over a frozen state of the lake, swapped in whole, with answers to the questions of
sql/queries.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.catalog import build as catalog
from pipelines.catalog.build import CatalogError, build_catalog, connect, list_queries, run_query
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake, LakeError, encode
from pipelines.tables.shards import shard_name, shard_of

PATIENTS = {"E1": "P1", "E2": "P2", "E3": "P1"}


def keys(exam: str) -> dict[str, str]:
    return {"exam_id": exam, "patient_id": PATIENTS[exam], "row_key": "k"}


def exam(exam_id: str, **changes: Any) -> dict[str, Any]:
    row = keys(exam_id) | {"shard": shard_of(PATIENTS[exam_id]), "status": "ok", "tracer": "FDG", "n_slices": 90}
    row |= {"shape_k": 90, "suv_path": f"volumes/{exam_id}/SUV.nii"} | {f"spacing_{a}_mm": 3.0 for a in "ijk"}
    return row | changes


def finding(exam_id: str, name: str, **changes: Any) -> dict[str, Any]:
    row = keys(exam_id) | {"finding_id": f"{exam_id}:{name}", "sentence_id": f"{exam_id}:{name}", "sentence": name}
    row |= {"slice": 10, "suvmax_reported": 8.0, "outcome": "accepted", "votes": 1, "region": "chest", "organ": "lung"}
    return row | changes


def localisation(exam_id: str, name: str, **changes: Any) -> dict[str, Any]:
    row = keys(exam_id) | {"finding_id": f"{exam_id}:{name}", "outcome": "lesion", "sentence": name, "slice": 10}
    row |= {"suvmax_reported": 8.0, "n_voxels": 100, "voxel_ml": 0.03, "suvmax": 8.02, "suvmean": 5.0, "mtv_ml": 3.0}
    row |= {
        "tlg": 15.0,
        "mask_path": f"masks/{exam_id}/{name}.nii.gz",
        "method": "adaptive",
        "stop_reason": "converged",
    }
    row |= {f"{what}_{axis}_mm": 1.0 for what in ("peak", "centroid") for axis in "xyz"}
    return row | changes


def write(lake: Lake, table: str, rows: list[dict[str, Any]]) -> None:
    by_shard: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_shard.setdefault(shard_of(row["patient_id"]), []).append(row)
    for shard, part in by_shard.items():
        lake.write_shard(table, shard, schemas.frame(table, part), {"test": 1})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return small_lake(Home(tmp_path))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The same with its catalog, for tests that only read."""
    home = small_lake(Home(tmp_path_factory.mktemp("built")))
    build_catalog(home)
    return home


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The catalog of an empty lake."""
    home = Home(tmp_path_factory.mktemp("bare"))
    build_catalog(home)
    return home


def of_sentence(name: str, reader: str) -> dict[str, Any]:
    ids = dict.fromkeys(("sentence_id", "sentence_ids", "passage_id", "passage_sentence_ids"), f"E1:{name}")
    return ids | {"reader": reader}


def small_lake(home: Home) -> Home:
    """Two good exams and a bad one; a lesion, a near miss, a template sentence, and a finding that waits for its
    image.
    """
    lake = Lake(home.root / "lake")
    bad = keys("E3") | {
        "shard": shard_of("P1"),
        "status": "problem",
        "problem": "no PET series",
        "message": "look there",
    }
    write(lake, "exams", [exam("E1"), exam("E2", tracer=None), bad])
    sentence = {"sentence": "x", "start": 0, "end": 1, "is_candidate": True}
    write(lake, "sentences", [keys("E1") | sentence | {"sentence_id": f"E1:{n}"} for n in "abc"])
    reading = {"sentence": "x", "reader_version": "1", "mention": 1, "slice": 10, "suvmax": 8.0}
    readings = [keys("E1") | reading | of_sentence(n, r) for n in "ab" for r in ("llm", "rules")]
    readings[0] |= {"slice": 11}
    write(lake, "readings", readings)
    findings = [
        finding("E1", "a"),
        finding("E1", "b", organ=None),
        finding("E1", "c", outcome="template"),
        finding("E2", "a", outcome="accepted"),
    ]
    write(lake, "findings", findings)
    miss = {
        name: None for name in ("suvmax", "suvmean", "mtv_ml", "tlg", "n_voxels", "mask_path", "method", "stop_reason")
    }
    missed = localisation(
        "E1", "b", outcome="not in the image", nearest_slice_with_suvmax=13, explanation="3 off", **miss
    )
    write(lake, "lesions", [localisation("E1", "a"), missed])
    return home


class TestViews:
    def test_an_exam_without_a_finding_in_its_image_says_first_what_may_be_wrong(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        lake = Lake(home.root / "lake")
        write(lake, "exams", [exam("E1", message="dose read in kBq"), exam("E2"), exam("E3", message="told")])
        outcomes = {"E1": ("not in the image",) * 2, "E2": ("not in the image", "lesion"), "E3": ("ambiguous",)}
        write(
            lake, "lesions",
            [localisation(e, str(n), outcome=o) for e, found in outcomes.items() for n, o in enumerate(found)],
        )  # fmt: skip
        build_catalog(home)
        with connect(home) as con:
            messages = dict(con.execute("SELECT exam_id, message FROM exams").fetchall())
        said = "none of its findings is in the image (2); what may be wrong: dose read in kBq; "
        assert messages["E1"].startswith(said)
        assert (messages["E2"], messages["E3"]) == (None, "told")

    def test_every_promised_view_is_there(self, home: Home) -> None:
        summary = build_catalog(home)
        promised = {"exams", "sentences", "readings", "findings", "lesions", "samples", "predictions", "scores"}
        assert promised | {"localisations", "reviews", "removals", "quarantine"} <= set(summary.views)
        assert summary.tables["findings"] == 4

    def test_a_nullable_column_that_was_added_since_is_null_in_the_rows_before(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lake, shard = Lake(home.root / "lake"), shard_of("P2")
        now = schemas.signature_of("exams")
        before = {**now, "columns": {name: c for name, c in now["columns"].items() if name != "tracer"}}
        rows = lake.read_shard("exams", shard).drop("tracer")
        with monkeypatch.context() as patch:
            patch.setattr(schemas, "signature_of", lambda table: before)
            data, _ = encode("exams", shard_name(shard), rows, {})
        Path(str(lake.path("exams", shard))).write_bytes(data)
        build_catalog(home)
        with connect(home) as con:
            found = con.execute("SELECT exam_id, tracer FROM exams WHERE status = 'ok' ORDER BY 1").fetchall()
        assert found == [("E1", "FDG"), ("E2", None)]
        assert run_query(home, "lesions_by_tracer")["tracer"].to_list() == ["FDG"]

    def test_findings_carry_the_outcome_of_the_image_stage(self, built: Home) -> None:
        with connect(built) as con:
            rows = con.execute(
                "SELECT finding_id, outcome, text_outcome, explanation FROM findings ORDER BY 1"
            ).fetchall()
        assert rows == [
            ("E1:a", "lesion", "accepted", None),
            ("E1:b", "not in the image", "accepted", "3 off"),
            ("E1:c", "template", "template", None),
            ("E2:a", "accepted", "accepted", None),
        ]

    def test_lesions_join_what_report_and_exam_say(self, built: Home) -> None:
        with connect(built) as con:
            rows = con.execute(
                "SELECT finding_id, patient_id, region, organ, tracer, mask_path FROM lesions"
            ).fetchall()
        assert rows == [("E1:a", "P1", "chest", "lung", "FDG", str(built.root / "masks/E1/a.nii.gz"))]

    def test_empty_lake_gives_empty_typed_views(self, bare: Home) -> None:
        with connect(bare) as con:
            assert con.execute("SELECT count(*) FROM lesions").fetchone() == (0,)
            types = dict(con.execute("SELECT column_name, column_type FROM (DESCRIBE lesions)").fetchall())
        assert (types["suvmax"], types["slice"], types["mask_path"]) == ("DOUBLE", "BIGINT", "VARCHAR")

    def test_comments_on_views_and_columns(self, built: Home) -> None:
        with connect(built) as con:
            views = con.execute(
                "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal AND schema_name <> 'previous'"
            ).fetchall()
            columns = con.execute(
                "SELECT table_name, column_name, comment FROM duckdb_columns()"
                " WHERE NOT internal AND schema_name = 'main'"
                " AND table_name NOT IN ('tables', 'columns', 'version')"
            ).fetchall()
        assert [view for view, comment in views if not comment] == []
        assert [column for column in columns if not column[2]] == []
        assert ("lesions", "mtv_ml", "Metabolic tumour volume [mL]") in columns

    def test_dictionary_holds_every_column(self, built: Home) -> None:
        with connect(built) as con:
            n = con.execute("SELECT count(*) FROM columns").fetchone()
        assert n == (sum(len(schemas.describe(table)) for table in schemas.TABLES),)

    def test_strange_characters_in_the_path(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "it's [a] *home*")
        write(Lake(home.root / "lake"), "exams", [exam("E1")])
        build_catalog(home)
        with connect(home) as con:
            assert con.execute("SELECT suv_path FROM exams").fetchall() == [(str(home.root / "volumes/E1/SUV.nii"),)]

    def test_file_opens_from_another_folder_without_this_project(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = build_catalog(home).path
        monkeypatch.chdir("/")
        with duckdb.connect() as con:
            con.execute(f"ATTACH '{path}' AS other (READ_ONLY)")
            assert con.execute("SELECT count(*) FROM other.lesions").fetchone() == (1,)


class TestSwap:
    def test_new_shard_is_seen_after_a_rebuild_and_not_before(self, home: Home) -> None:
        build_catalog(home)
        write(Lake(home.root / "lake"), "lesions", [localisation("E2", "a")])
        with connect(home) as con:
            assert con.execute("SELECT count(*) FROM lesions").fetchone() == (1,)
        build_catalog(home)
        with connect(home) as con:
            assert con.execute("SELECT count(*) FROM lesions").fetchone() == (2,)

    def test_old_reader_keeps_its_state_while_the_lake_is_rewritten(self, home: Home) -> None:
        build_catalog(home)
        with connect(home) as old:
            write(Lake(home.root / "lake"), "lesions", [localisation("E1", "a", suvmax=9.0)])
            build_catalog(home)
            with connect(home) as new:
                assert new.execute("SELECT suvmax FROM lesions").fetchall() == [(9.0,)]
            assert old.execute("SELECT suvmax FROM lesions").fetchall() == [(8.02,)]

    def test_equal_lake_gives_the_same_version(self, built: Home) -> None:
        first = build_catalog(built)
        assert build_catalog(built).version == first.version
        assert catalog.read_history(built) == [first.version]

    def test_older_version_opens(self, home: Home) -> None:
        first = build_catalog(home).version
        write(Lake(home.root / "lake"), "lesions", [localisation("E1", "a"), localisation("E1", "b")])
        second = build_catalog(home)
        assert second.previous == first
        with connect(home, first) as con:
            assert con.execute("SELECT count(*) FROM lesions").fetchone() == (1,)

    def test_old_versions_are_pruned(self, home: Home) -> None:
        versions = []
        for n in range(3):
            write(Lake(home.root / "lake"), "lesions", [localisation("E1", "a", suvmax=8.0 + n)])
            versions.append(build_catalog(home, keep=2).version)
        assert catalog.read_history(home) == versions[-2:]
        assert sorted(p.name for p in (home.root / "versions").iterdir() if p.is_dir()) == sorted(versions[-2:])
        with pytest.raises(CatalogError, match=f"kept versions: {versions[-2]}, {versions[-1]}"):
            connect(home, versions[0])

    def test_broken_file_leaves_the_old_catalog(self, home: Home) -> None:
        build_catalog(home)
        path = Lake(home.root / "lake").path("lesions", shard_of("P1"))
        path.unlink()
        path.write_bytes(b"PAR1 not really")
        with pytest.raises(LakeError, match="materialise shard"):
            build_catalog(home)
        with connect(home) as con:
            assert con.execute("SELECT count(*) FROM lesions").fetchone() == (1,)

    def test_file_that_was_damaged_in_place_is_mended_by_a_rerun(self, home: Home) -> None:
        build_catalog(home)
        lake = Lake(home.root / "lake")
        path = lake.path("lesions", shard_of("P1"))
        whole = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(100)
        with pytest.raises(LakeError, match="materialise shard"):
            build_catalog(home)
        path.unlink()
        path.write_bytes(whole)
        build_catalog(home)
        with connect(home) as con:
            assert con.execute("SELECT count(*) FROM lesions").fetchone() == (1,)

    def test_after_a_version_of_an_older_schema_is_built_without_it(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(schemas, "signature_of", lambda table: {"columns": {table: ["text", True]}, "rules": {}})
            shutil.rmtree(home.root / "lake")
            small_lake(home)
            build_catalog(home)
        shutil.rmtree(home.root / "lake")
        small_lake(home)
        build_catalog(home)
        with connect(home) as con:
            assert con.sql("select count(*) from lake.exams").fetchall() == [(3,)]
            assert con.sql("select count(*) from previous.exams").fetchall() == [(0,)]

    def test_file_system_without_hard_links(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(catalog.os, "link", refuse)
        build_catalog(home)
        with connect(home) as con:
            assert con.execute("SELECT count(*) FROM lesions").fetchone() == (1,)


class TestConnect:
    def test_no_catalog_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(CatalogError, match="materialise `catalog`"):
            connect(Home(tmp_path))

    def test_is_read_only(self, built: Home) -> None:
        with connect(built) as con, pytest.raises(duckdb.Error, match="read-only"):
            con.execute("CREATE TABLE t (a INTEGER)")

    def test_file_that_is_no_catalog_says_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "petar.duckdb").write_bytes(b"x" * 10_000)
        with pytest.raises(CatalogError, match="delete it and materialise"):
            connect(Home(tmp_path))

    def test_stranger_who_holds_it_for_writing_blocks_nobody(self, home: Home) -> None:
        path = build_catalog(home).path
        with duckdb.connect(str(path)):
            write(Lake(home.root / "lake"), "lesions", [localisation("E2", "a")])
            build_catalog(home)
            with connect(home) as con:
                assert con.execute("SELECT count(*) FROM lesions").fetchone() == (2,)

    def test_lone_file_that_another_process_holds_says_what_to_do(self, home: Home) -> None:
        path = build_catalog(home).path
        shutil.rmtree(home.root / "versions")
        code = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print('held', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(CatalogError, match="close the process that holds it"):
                connect(home)
            holder.communicate("")


class TestViewFiles:
    def test_misnamed_file(self, tmp_path: Path) -> None:
        (tmp_path / "views").mkdir()
        (tmp_path / "views" / "lesions.sql").write_text("SELECT 1")
        with pytest.raises(CatalogError, match="NN_name"):
            build_catalog(Home(tmp_path / "home"), tmp_path)

    def test_view_that_does_not_run_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "views").mkdir()
        (tmp_path / "views" / "10_odd.sql").write_text("-- Odd.\nSELECT colour FROM lake.exams")
        with pytest.raises(CatalogError, match="view odd"):
            build_catalog(Home(tmp_path / "home"), tmp_path)


class TestQueries:
    def test_of_a_damaged_file_names_the_file_and_not_the_query(self, home: Home) -> None:
        build_catalog(home)
        (path,) = (home.root / "versions").glob("*/lake/lesions/*.parquet")
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(CatalogError, match=f"the file is damaged: delete {path}, .* curate again"):
            run_query(home, "lesions_by_organ")

    def test_each_begins_with_a_comment(self) -> None:
        assert [name for name, comment in list_queries().items() if len(comment) < 20] == []

    @pytest.mark.parametrize("name", list_queries())
    def test_each_answers_on_an_empty_and_on_a_small_lake(self, name: str, built: Home, tmp_path: Path) -> None:
        empty = Home(tmp_path / "empty")
        build_catalog(empty)
        assert run_query(empty, name).columns == run_query(built, name).columns

    def test_what_to_fix_is_what_is_wrong_now_or_was_made_anew_and_not_judged_since(self, home: Home) -> None:
        said = [("E1:a", "A", "accept", False), ("E1:a", "B", "wrong contour", True), ("E1:b", "A", "accept", True)]
        said += [("E1:c", "A", "wrong text", False), ("E1:c", "B", "unsure", False)]
        names = ("finding_id", "reviewer", "answer", "is_stale")
        rows = schemas.frame("reviews", [dict(zip(names, row, strict=True)) for row in said])
        assert Lake(home.root / "lake").write_table("reviews", rows).quarantined == 0
        build_catalog(home)
        found = run_query(home, "to_fix").select("todo", "finding_id", "reviewer")
        assert found.rows() == [("fix", "E1:c", "A"), ("review again", "E1:b", "A")]

    @pytest.mark.parametrize("name", list_queries())
    def test_each_gives_the_same_rows_twice(self, name: str, built: Home) -> None:
        assert run_query(built, name).equals(run_query(built, name))

    def test_funnel_accounts_for_every_finding(self, built: Home) -> None:
        rows = {(what, reason): n for what, reason, n in run_query(built, "funnel").iter_rows()}
        assert rows == {
            ("exams", None): 3,
            ("exams without volume", "no PET series"): 1,
            ("exams with volume", None): 2,
            ("sentences", None): 3,
            ("candidate sentences", None): 3,
            ("findings", None): 4,
            ("findings by what the text gives", "neither"): 4,
            ("findings rejected by text", "template"): 1,
            ("findings accepted", None): 3,
            ("findings rejected by image", "not in the image"): 1,
            ("findings waiting for the image stage", None): 1,
            ("lesions", None): 1,
        }

    def test_mentions_are_counted_by_language_evidence_and_outcome(self, home: Home) -> None:
        lake = Lake(home.root / "lake")
        sentence = {
            "sentence": "x",
            "start": 0,
            "end": 1,
            "is_candidate": True,
            "sentence_id": "E1:a",
            "language": "de",
        }
        write(lake, "sentences", [keys("E1") | sentence])
        write(lake, "findings", [finding("E1", "a", text_evidence="SUV only")])
        build_catalog(home)
        row = run_query(home, "mentions").row(0, named=True)
        assert (row["language"], row["text_evidence"], row["n"], row["n_exams"]) == ("de", "SUV only", 1, 1)

    def test_agreement_of_two_readers(self, built: Home) -> None:
        row = run_query(built, "readers_agreement").row(0, named=True)
        assert (row["reader"], row["other"], row["n_sentences"]) == ("llm", "rules", 2)
        assert (row["same_slice_percent"], row["same_suvmax_percent"], row["same_both_percent"]) == (50, 100, 50)

    def test_shared_contour_counts_its_volume_once(self, home: Home) -> None:
        both = [localisation("E1", "a", shares_with="E1:b"), localisation("E1", "b", shares_with="E1:a")]
        write(Lake(home.root / "lake"), "lesions", both)
        build_catalog(home)
        row = run_query(home, "burden_per_patient").row(0, named=True)
        assert (row["n_lesions"], row["total_mtv_ml"], row["total_tlg"]) == (2, 3.0, 15.0)

    @pytest.mark.parametrize(
        ("is_physiologic", "n_lesions", "n_physiologic"), [(True, 1, 1), (False, 2, 0), (None, 2, 0)]
    )
    def test_what_is_physiologic_is_no_burden(
        self, home: Home, is_physiologic: bool | None, n_lesions: int, n_physiologic: int
    ) -> None:
        write(Lake(home.root / "lake"), "lesions", [localisation("E1", "a"), localisation("E1", "b")])
        findings = [finding("E1", "a"), finding("E1", "b", is_physiologic=is_physiologic)]
        write(Lake(home.root / "lake"), "findings", findings)
        build_catalog(home)
        row = run_query(home, "burden_per_patient").row(0, named=True)
        assert (row["n_lesions"], row["n_physiologic"]) == (n_lesions, n_physiologic)
        assert row["total_mtv_ml"] == pytest.approx(3.0 * n_lesions)

    def test_what_is_physiologic_counts_nowhere_as_a_lesion(self, home: Home) -> None:
        lake = Lake(home.root / "lake")
        write(lake, "exams", [exam("E1"), exam("E2")])
        write(lake, "lesions", [localisation("E1", "a", suvmax=66.0), localisation("E2", "a", suvmax=5.0)])
        bladder = {"organ": "bladder", "region": "abdomen/pelvis", "is_physiologic": True}
        write(lake, "findings", [finding("E1", "a", **bladder), finding("E2", "a", organ="liver", region="chest")])
        build_catalog(home)
        assert run_query(home, "lesions_by_organ")["organ"].to_list() == ["liver"]
        assert run_query(home, "lesions_by_region")["region"].to_list() == ["chest"]
        for name in ("lesions_by_tracer", "suvmax_distribution", "volume_distribution"):
            assert run_query(home, name)["n_lesions"].to_list() == [1], name
        patients = dict(run_query(home, "patients").select("patient_id", "n_lesions").iter_rows())
        assert patients == {PATIENTS["E1"]: 0, PATIENTS["E2"]: 1}
        assert run_query(home, "exams_without_lesions").rows() == [("physiologic uptake", 1, "E1")]
        funnel = {(what, reason): n for what, reason, n in run_query(home, "funnel").iter_rows()}
        assert funnel["lesions", None] == 2
        assert funnel["lesions: what they are", "physiologic uptake"] == 1

    def test_exams_without_lesions_say_why(self, built: Home) -> None:
        rows = run_query(built, "exams_without_lesions").rows()
        assert sorted(rows) == [("accepted", 1, "E2"), ("no volume: no PET series", 1, "E3")]

    def test_changes_between_two_versions(self, home: Home) -> None:
        build_catalog(home)
        rows = [localisation("E1", "a", suvmax=8.05), localisation("E1", "b")]
        write(Lake(home.root / "lake"), "lesions", rows)
        build_catalog(home)
        changes = {row["change"]: row["n"] for row in run_query(home, "changes").iter_rows(named=True)}
        assert changes == {"measured anew": 1, "came": 1}

    def test_changes_are_those_of_the_last_other_curation(self, home: Home) -> None:
        """As curation_diff: scores that are made of a curation change nothing in it."""
        build_catalog(home)
        write(Lake(home.root / "lake"), "lesions", [localisation("E1", "a", suvmax=8.05)])
        build_catalog(home)
        score = {
            "model": "m",
            "split": "test",
            "metric": "BLEU",
            "numbers": "raw",
            "subset": "all",
            "value": 0.5,
            "n": 1,
            "status": "computed",
        }
        Lake(home.root / "lake").write_table("scores", schemas.frame("scores", [score]))
        build_catalog(home)
        assert run_query(home, "changes")["change"].to_list() == ["measured anew", "went, was rejected"]

    def test_unknown_name_lists_the_known_ones(self, home: Home) -> None:
        with pytest.raises(CatalogError, match="got 'funel'"):
            run_query(home, "funel")
