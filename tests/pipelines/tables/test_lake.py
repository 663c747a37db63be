"""The Parquet lake: equal rows give equal bytes, no half file, no lost row, and errors that say what to do."""

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tables import atomic, schemas
from pipelines.tables import lake as lake_module
from pipelines.tables.lake import Lake, LakeError
from pipelines.tables.shards import shard_name, shard_of
from tests.support.paths import ROOT

SHARD = shard_of("P1")


def sentences(n: int = 3, **changes: Any) -> pl.DataFrame:
    row = {"exam_id": "E1", "patient_id": "P1", "row_key": "k", "sentence": "Ä lesion.", "start": 0, "end": 9}
    return schemas.frame(
        "sentences", [row | {"sentence_id": f"E1:{i}", "is_candidate": True} | changes for i in range(n)]
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


class TestWriting:
    def test_rows_come_back(self, lake: Lake) -> None:
        written = lake.write_shard("sentences", SHARD, sentences(), {"logic": 1})
        assert written.path == lake.root / "sentences" / f"{shard_name(SHARD)}.parquet"
        assert lake.read_shard("sentences", SHARD).equals(sentences())
        assert lake.read_table("sentences").equals(sentences())

    def test_never_written_is_empty_and_typed(self, lake: Lake) -> None:
        assert lake.read_shard("sentences", SHARD).equals(schemas.empty("sentences"))
        assert lake.read_table("scores").schema == schemas.empty("scores").schema
        assert lake.shard_meta("sentences", SHARD) is None
        assert not lake.has_shard("sentences", SHARD)

    @settings(max_examples=10, deadline=None)
    @given(order=st.permutations(range(6)))
    def test_equal_rows_in_any_order_give_equal_bytes(self, order: list[int]) -> None:
        rows = sentences(6)
        straight = lake_module.encode("sentences", "00", rows, {"a": 1, "b": 2})
        assert lake_module.encode("sentences", "00", rows[order], {"b": 2, "a": 1}) == straight

    def test_version_is_of_the_rows_and_not_of_the_inputs(self, lake: Lake) -> None:
        first = lake.write_shard("sentences", SHARD, sentences(), {"logic": 1})
        second = lake.write_shard("sentences", SHARD, sentences(), {"logic": 2})
        third = lake.write_shard("sentences", SHARD, sentences(4), {"logic": 2})
        assert first.rows_digest == second.rows_digest != third.rows_digest
        assert lake.shard_version("sentences", SHARD) == third.rows_digest
        assert lake.shard_inputs("sentences", SHARD) == {"logic": 2}

    def test_unchanged_file_is_left_alone(self, lake: Lake) -> None:
        first = lake.write_shard("sentences", SHARD, sentences(), {})
        inode = first.path.stat().st_ino
        assert not lake.write_shard("sentences", SHARD, sentences()[::-1], {}).changed
        assert first.path.stat().st_ino == inode

    def test_metadata_says_what_the_file_is(self, lake: Lake) -> None:
        lake.write_shard("sentences", SHARD, sentences(), {"logic": {"rules": "3"}})
        meta = lake.shard_meta("sentences", SHARD)
        assert meta is not None
        assert (meta.n_rows, meta.n_shards, meta.schema) == (3, 64, schemas.signature_of("sentences"))
        assert meta.inputs == {"logic": {"rules": "3"}}

    def test_patient_of_another_shard_is_refused(self, lake: Lake) -> None:
        with pytest.raises(schemas.ContractError, match=f"patient P1 belongs to shard {shard_name(SHARD)}"):
            lake.write_shard("sentences", (SHARD + 1) % 64, sentences(), {})

    def test_whole_and_sharded_are_told_apart(self, lake: Lake) -> None:
        with pytest.raises(LakeError, match="use write_shard"):
            lake.write_table("sentences", sentences())
        with pytest.raises(LakeError, match="got shard 00 of scores"):
            lake.write_shard("scores", 0, schemas.empty("scores"), {})

    def test_whole_table(self, lake: Lake) -> None:
        row = {
            "model": "m",
            "split": "test",
            "metric": "BLEU",
            "numbers": "raw",
            "subset": "all",
            "status": "not computed",
            "note": "no texts",
        }
        lake.write_table("scores", schemas.frame("scores", [row]))
        assert lake.read_table("scores")["note"].to_list() == ["no texts"]


class TestQuarantine:
    def test_broken_row_is_kept_with_its_rule_and_counted(self, lake: Lake) -> None:
        frame = pl.concat([sentences(2), sentences(1, start=-1, sentence_id="E1:9")])
        written = lake.write_shard("sentences", SHARD, frame, {})
        assert (written.n_rows, written.quarantined, written.broken_rules) == (2, 1, {"start|min": 1})
        kept = lake.read_table("quarantine").row(0, named=True)
        assert (kept["table"], kept["shard"], kept["rules"]) == ("sentences", shard_name(SHARD), "start|min")
        assert json.loads(kept["row_json"])["sentence_id"] == "E1:9"
        meta = lake.shard_meta("sentences", SHARD)
        assert meta is not None
        assert meta.n_quarantined == 1

    def test_mended_rows_leave_it(self, lake: Lake) -> None:
        lake.write_shard("sentences", SHARD, sentences(1, start=-1), {})
        lake.write_shard("sentences", SHARD, sentences(1), {})
        assert lake.read_table("quarantine").is_empty()


class TestUnusableFiles:
    def test_truncated_file_names_the_remedy(self, lake: Lake) -> None:
        path = lake.write_shard("sentences", SHARD, sentences(), {}).path
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(
            LakeError, match=r"got no whole Parquet file .* materialise shard .* of table sentences again"
        ):
            lake.read_shard("sentences", SHARD)

    def test_broken_pages_name_the_remedy(self, lake: Lake) -> None:
        path = lake.write_shard("sentences", SHARD, sentences(), {}).path
        data = bytearray(path.read_bytes())
        data[4:200] = bytes(196)
        path.write_bytes(data)
        with pytest.raises(LakeError, match=r"can not be read .* materialise"):
            lake.read_shard("sentences", SHARD)

    def test_foreign_parquet_is_told(self, lake: Lake) -> None:
        path = lake.path("sentences", SHARD)
        path.parent.mkdir(parents=True)
        sentences().write_parquet(path)
        with pytest.raises(LakeError, match="did not write"):
            lake.read_table("sentences")

    def test_other_number_of_shards(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(lake_module, "N_SHARDS", 32)
            lake.write_shard("sentences", SHARD, sentences(), {})
        with pytest.raises(LakeError, match="expected a lake of 64 shards, got one of 32"):
            lake.read_table("sentences")

    def test_shard_under_another_name(self, lake: Lake) -> None:
        path = lake.write_shard("sentences", SHARD, sentences(), {}).path
        path.rename(lake.path("sentences", (SHARD + 1) % 64))
        with pytest.raises(LakeError, match=f"got shard {shard_name(SHARD)} of table sentences"):
            lake.read_shard("sentences", (SHARD + 1) % 64)

    def test_foreign_name_in_the_folder(self, lake: Lake) -> None:
        path = lake.write_shard("sentences", SHARD, sentences(), {}).path
        path.rename(path.with_name("copy.parquet"))
        with pytest.raises(LakeError, match=r"got copy.parquet"):
            lake.read_table("sentences")

    def test_files_are_plain_parquet(self, lake: Lake) -> None:
        path = lake.write_shard("sentences", SHARD, sentences(), {}).path
        assert pq.read_table(path).num_rows == 3


class TestAnotherSchema:
    @pytest.fixture
    def write_before(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """Writes a shard as it was before a column was added to the schema."""

        def write(column: str) -> None:
            today = schemas.signature_of("sentences")
            columns = {name: c for name, c in today["columns"].items() if name != column}
            with monkeypatch.context() as patch:
                patch.setattr(schemas, "signature_of", lambda table: {**today, "columns": columns})
                rows = sentences().drop(column)
                data, _ = lake_module.encode("sentences", shard_name(SHARD), rows, {"keys": {"E1": "k"}})
            atomic.write_bytes(Path(str(lake.path("sentences", SHARD))), data)

        return write

    def test_a_nullable_column_that_is_added_is_null_and_makes_no_row_anew(
        self, lake: Lake, write_before: Callable[[str], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        write_before("section")
        assert lake.read_shard("sentences", SHARD).equals(sentences().with_columns(section=pl.lit(None, pl.String)))
        assert lake.read_table("sentences").columns == sentences().columns
        assert lake.read_for_reuse("sentences", SHARD)[1] == {"keys": {"E1": "k"}}
        assert lake.shard_meta("sentences", SHARD) is not None
        assert caplog.text == ""

    def test_any_other_change_counts_as_not_there_and_is_told_once(
        self, lake: Lake, write_before: Callable[[str], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        write_before("sentence")
        for _ in range(3):
            assert lake.shard_meta("sentences", SHARD) is None
            assert lake.read_shard("sentences", SHARD).is_empty()
            assert lake.read_table("sentences").is_empty()
            assert lake.read_for_reuse("sentences", SHARD)[1] == {}
        assert caplog.text.count("its schema has changed") == 1


class TestAtomicWrites:
    def test_failure_leaves_the_old_file_and_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "a.bin"
        atomic.write_bytes(path, b"old")

        def stop_halfway() -> None:
            with atomic.replacing(path) as temp:
                temp.write_bytes(b"half")
                raise ValueError("stop")

        with pytest.raises(ValueError, match="stop"):
            stop_halfway()
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]

    def test_partial_file_of_a_killed_writer_is_cleaned(self, tmp_path: Path) -> None:
        code = f"""
            import os, pathlib, signal
            from pipelines.tables import atomic
            with atomic.replacing(pathlib.Path({str(tmp_path)!r}) / "a.bin") as temp:
                temp.write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
        """
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, check=False)
        assert killed.returncode == -9
        assert len(list(tmp_path.iterdir())) == 1
        atomic.write_bytes(tmp_path / "a.bin", b"whole")
        assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]

    def test_partial_file_of_a_living_writer_stays(self, tmp_path: Path) -> None:
        with atomic.replacing(tmp_path / "a.bin") as temp:
            assert atomic.clean_partials(tmp_path) == 0
            temp.write_bytes(b"whole")
        assert (tmp_path / "a.bin").read_bytes() == b"whole"

    def test_full_disk_names_the_file_and_keeps_the_old_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        atomic.write_bytes(tmp_path / "a.bin", b"old")

        def full(handle: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(atomic.os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: .*a\.bin"):
            atomic.write_bytes(tmp_path / "a.bin", b"new")
        assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.bin", b"old")]

    def test_two_writers_at_once_leave_one_whole_file(self, tmp_path: Path) -> None:
        contents = [bytes([n]) * 200_000 for n in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda data: atomic.write_bytes(tmp_path / "a.bin", data), contents))
        assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
        assert (tmp_path / "a.bin").read_bytes() in contents

    def test_unwritable_folder_names_the_file(self, tmp_path: Path) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("not a folder")
        with pytest.raises(OSError, match="file"):
            atomic.write_bytes(blocked / "a.bin", b"x")
