"""Files of a home in a store: two machines that share the store and no disk see the same files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.tables.home import Home, HomeError, use_files


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the store lies."""
    if request.param == "folder":
        yield str(tmp_path / "store")
        return
    import fsspec

    yield f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def one(tmp_path: Path, place: str) -> Home:
    """The home of a machine."""
    return _home(tmp_path / "one", place)


@pytest.fixture
def other(tmp_path: Path, place: str) -> Home:
    """The home of another one, with the same store."""
    return _home(tmp_path / "other", place)


def _home(root: Path, place: str) -> Home:
    root.mkdir()
    home = Home(root)
    use_files(home, place)
    return home


def write(home: Home, name: str, text: str) -> Path:
    path = home.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return home.keep(path)


NAME = "volumes/E 1/SUV.nii"


class TestAFile:
    def test_is_read_by_another_machine(self, one: Home, other: Home) -> None:
        write(one, NAME, "a")
        assert other.holds(NAME)
        assert other.file(NAME).read_text() == "a"

    def test_that_was_replaced_is_read_anew(self, one: Home, other: Home) -> None:
        write(one, NAME, "a")
        other.file(NAME)
        write(one, NAME, "another")
        assert other.file(NAME).read_text() == "another"

    def test_that_is_as_it_was_is_not_copied_again(self, one: Home, other: Home) -> None:
        write(one, NAME, "a")
        inode = other.file(NAME).stat().st_ino
        assert other.file(NAME).stat().st_ino == inode

    def test_survives_an_emptied_cache(self, one: Home) -> None:
        write(one, NAME, "a").unlink()
        assert one.file(NAME).read_text() == "a"

    def test_that_a_killed_writer_did_not_put_there_is_the_stores(self, one: Home) -> None:
        write(one, NAME, "a")
        (one.root / NAME).unlink()
        (one.root / NAME).with_name(".SUV.nii.tag").unlink()
        (one.root / NAME).write_text("half")
        assert one.file(NAME).read_text() == "a"

    def test_that_was_removed_is_gone_for_all(self, one: Home, other: Home) -> None:
        write(one, NAME, "a")
        one.remove(one.root / NAME)
        assert not other.holds(NAME)
        assert not other.file(NAME).exists()

    def test_that_is_nowhere_is_not_there(self, one: Home) -> None:
        assert not one.is_kept(NAME)


class TestAFolder:
    def test_is_the_same_on_another_machine(self, one: Home, other: Home) -> None:
        write(one, "checkpoints/stage/checkpoint/weights", "w")
        write(one, "checkpoints/stage/result.json", "{}")
        assert (other.checkpoint("stage") / "weights").read_text() == "w"

    def test_loses_what_was_left_out_of_it(self, one: Home, other: Home) -> None:
        write(one, "checkpoints/stage/checkpoint/old", "o")
        other.checkpoint("stage")
        (one.root / "checkpoints/stage/checkpoint/old").unlink()
        (one.root / "checkpoints/stage/new").write_text("n")
        one.keep(one.checkpoints / "stage")
        assert not (other.checkpoint("stage") / "old").exists()
        assert (other.checkpoints / "stage" / "new").read_text() == "n"

    def test_tells_its_files_and_folders_wherever_they_are(self, one: Home, other: Home) -> None:
        write(one, "masks/E1/a.nii.gz", "a")
        assert other.files_below(other.masks / "E1") == {other.masks / "E1" / "a.nii.gz"}
        assert other.folders_in(other.masks) == [other.masks / "E1"]

    def test_that_was_removed_is_gone_for_all(self, one: Home, other: Home) -> None:
        write(one, "masks/E1/a.nii.gz", "a")
        other.remove_folder(other.masks / "E1")
        assert not one.files_below(Home(one.root).masks / "E1") - {one.masks / "E1" / "a.nii.gz"}
        assert not one.files.holds(one.masks / "E1" / "a.nii.gz") if one.files else False


class TestAHome:
    def test_remembers_its_store(self, one: Home, place: str) -> None:
        use_files(one, place)
        assert one.files is not None

    def test_refuses_another_store(self, one: Home) -> None:
        with pytest.raises(HomeError, match=r"expected its files at .* PETAR_FILES names .*elsewhere"):
            use_files(one, "memory://elsewhere")

    def test_refuses_to_leave_files_behind(self, tmp_path: Path) -> None:
        (tmp_path / "volumes").mkdir()
        with pytest.raises(HomeError, match="expected its files at volumes"):
            use_files(Home(tmp_path), "memory://elsewhere")

    def test_without_a_store_has_its_own_files_alone(self, tmp_path: Path) -> None:
        path = write(Home(tmp_path), NAME, "a")
        assert Home(tmp_path).file(NAME) == path
        assert sorted(p.name for p in path.parent.iterdir()) == ["SUV.nii"]
