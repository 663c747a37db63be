import pytest
import torch

from assets.cli import main
from model.petar.checkpoints import CheckpointError, Contract, StageRecord, build_model, save_checkpoint, versions
from model.petar.hub import from_pretrained, local_path, pull_from_hub, push_to_hub
from tests.support.fake_hub import TOKEN, fake_hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with fake_hub() as started:
        # As HF_ENDPOINT does, which is read once, at import.
        files = f"{started.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", started.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield started


@pytest.fixture
def folder(tmp_path, micro, tokenizer):
    lineage = (StageRecord("findings_full", "abc123", 9, 4, 2.0, 1.0, 1.5),)
    save_checkpoint(tmp_path / "own", build_model(micro, tokenizer), tokenizer, Contract(micro, lineage, versions()))
    return tmp_path / "own"


class TestPushToHub:
    def test_what_was_pushed_comes_back_by_its_id(self, hub, folder):
        url = push_to_hub(folder, "clinic/petar-tiny")
        assert url.startswith(f"{hub.url}/clinic/petar-tiny/commit/")
        loaded = from_pretrained("clinic/petar-tiny")
        own = from_pretrained(folder)
        assert loaded.contract == own.contract
        assert all(torch.equal(a, b) for a, b in zip(own.model.parameters(), loaded.model.parameters(), strict=True))

    def test_is_private_and_sends_nothing_but_the_checkpoint(self, hub, folder):
        (folder / "patients.csv").write_text("P1")
        push_to_hub(folder, "clinic/petar-tiny")
        sent = hub.files["clinic/petar-tiny"]
        assert {"model.safetensors", "model.json", "tokenizer.json", "README.md"} <= set(sent)
        assert "patients.csv" not in sent
        assert hub.private["clinic/petar-tiny"]
        assert "| findings_full | 9 | 4 | 1.500 | `abc123` |" in sent["README.md"].decode()

    def test_a_refusal_says_what_to_do(self, hub, folder, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_nobody")
        with pytest.raises(CheckpointError, match="token that may write"):
            push_to_hub(folder, "clinic/petar-tiny")

    def test_a_folder_that_is_no_checkpoint_is_not_sent(self, hub, tmp_path):
        with pytest.raises(CheckpointError, match=r"model\.json"):
            push_to_hub(tmp_path, "clinic/x")
        assert hub.files == {}


class TestLocalPath:
    def test_a_folder_or_file_is_itself(self, folder):
        assert local_path(folder) == folder
        assert local_path(folder / "model.json") == folder / "model.json"

    def test_an_id_that_the_hub_does_not_know_is_an_error_with_both_places(self, hub):
        with pytest.raises(CheckpointError, match="on disk or on the hub"):
            local_path("clinic/nothing")

    def test_a_path_that_is_not_there_is_no_hub_id(self):
        with pytest.raises(CheckpointError, match="hub id"):
            local_path("/data/checkpoints/nothing")


class TestPullFromHub:
    def test_leaves_a_folder_that_loads(self, hub, folder, tmp_path):
        push_to_hub(folder, "clinic/petar-tiny")
        target = pull_from_hub("clinic/petar-tiny", tmp_path / "pulled")
        assert from_pretrained(target).contract.config.name == "micro"
        assert not (target / "model.safetensors").is_symlink()

    def test_the_command_says_why_not(self, tmp_path, capsys):
        assert main(["model", "push", "--checkpoint", str(tmp_path), "--repo", "clinic/x"]) == 1
        assert "model.json" in capsys.readouterr().err
