import errno
import json
import os
from dataclasses import replace

import pytest
import torch

from model.petar import checkpoints
from model.petar.checkpoints import (
    CheckpointError,
    Contract,
    StageRecord,
    build_model,
    load_checkpoint,
    load_weights,
    read_contract,
    save_checkpoint,
    versions,
    write_folder_atomically,
)
from model.petar.config import LayoutConfig
from pipelines.settings import QUESTION


def make(config, tokenizer, seed=0):
    torch.manual_seed(seed)
    return build_model(config, tokenizer)


def save(folder, config, tokenizer, seed=0):
    model = make(config, tokenizer, seed)
    save_checkpoint(
        folder,
        model,
        tokenizer,
        Contract(config, (StageRecord("findings_full", "abc", 9, 3, 2.0, 1.0, 1.5),), versions()),
    )
    return model


class TestSaveAndLoad:
    def test_weights_come_back_equal(self, micro, tokenizer, tmp_path):
        model = save(tmp_path / "c", micro, tokenizer)
        loaded = load_checkpoint(tmp_path / "c")
        theirs = loaded.model.state_dict()
        assert all(torch.equal(t, theirs[n]) for n, t in model.state_dict().items())
        assert loaded.report.missing == loaded.report.unexpected == ()

    def test_tied_embeddings_are_kept_once_and_come_back_tied(self, micro, tokenizer, tmp_path):
        tied = replace(micro, language=replace(micro.language, tied_embeddings=True))
        model = save(tmp_path / "c", tied, tokenizer)
        language = load_checkpoint(tmp_path / "c").model.language
        assert language.lm_head.weight is language.get_input_embeddings().weight
        assert torch.equal(language.lm_head.weight, model.language.lm_head.weight)

    def test_contract_says_how_inputs_are_made(self, micro, tokenizer, tmp_path):
        save(tmp_path / "c", micro, tokenizer)
        contract = json.loads((tmp_path / "c/model.json").read_text())
        assert contract["inputs"]["pet"]["window"] == [0.0, 12.0]
        assert contract["inputs"]["ct"]["window"] == [-300.0, 400.0]
        assert contract["inputs"]["mask"]["shape"] == list(micro.vision.image_shape)
        assert contract["lineage"][0]["data"] == "abc"
        assert set(contract["versions"]) >= {"torch", "transformers", "monai"}

    def test_contract_comes_back_equal(self, micro, tokenizer, tmp_path):
        save(tmp_path / "c", micro, tokenizer)
        contract = read_contract(tmp_path / "c")
        assert contract.config == micro
        assert contract.lineage[0].steps == 3

    def test_a_contract_of_an_earlier_release_is_read(self, micro, tokenizer, tmp_path):
        save(tmp_path / "c", micro, tokenizer)
        path = tmp_path / "c/model.json"
        contract = json.loads(path.read_text())
        del contract["config"]["layout"], contract["lineage"][0]["questions"]
        contract["config"]["inputs"]["resize"] = "area"
        path.write_text(json.dumps(contract))
        assert read_contract(tmp_path / "c").config == micro

    def test_contract_says_what_was_asked(self, micro):
        record = StageRecord("findings_full", "abc", 9, 3, 2.0, 1.0, 1.5, questions=("Which?", "Where?"))
        assert Contract(micro, (record,)).questions == ("Which?", "Where?")
        assert Contract(micro).questions == (QUESTION,)
        released = replace(micro, layout=LayoutConfig(questions=("What is it?",)))
        assert Contract(released, (record,)).questions == ("What is it?",)
        assert "What is it?" in Contract(released).card()

    def test_another_shape_names_the_difference(self, micro, tokenizer, tmp_path):
        save(tmp_path / "c", micro, tokenizer)
        other = replace(micro, vision=replace(micro.vision, width=64))
        with pytest.raises(CheckpointError, match=r"width 64 \(checkpoint 32\)"):
            load_checkpoint(tmp_path / "c", expected=other)

    def test_tensor_that_a_switch_adds_is_missing(self, micro, tokenizer, tmp_path):
        save(tmp_path / "c", replace(micro, use_mask=False), tokenizer)
        with pytest.raises(CheckpointError, match=r"lacks vision\.mask_embedding"):
            load_checkpoint(tmp_path / "c", expected=micro)
        loaded = load_checkpoint(tmp_path / "c", expected=micro, allow_missing=True)
        assert all(n.startswith("vision.mask_embedding.") for n in loaded.report.missing)

    def test_no_checkpoint_is_a_clear_error(self, tmp_path):
        with pytest.raises(CheckpointError, match="expected a checkpoint folder"):
            load_checkpoint(tmp_path / "nothing")

    def test_broken_weights_are_a_clear_error(self, micro, tokenizer, tmp_path):
        save(tmp_path / "c", micro, tokenizer)
        (tmp_path / "c/model.safetensors").write_bytes(b"short")
        with pytest.raises(CheckpointError, match="cannot read"):
            load_checkpoint(tmp_path / "c")


class TestLoadWeights:
    def test_unexpected_is_an_error_unless_allowed(self):
        layer = torch.nn.Linear(2, 2)
        tensors = {**layer.state_dict(), "extra": torch.zeros(1)}
        with pytest.raises(CheckpointError, match="extra"):
            load_weights(layer, tensors)
        assert load_weights(layer, tensors, allow_unexpected=True).unexpected == ("extra",)

    def test_copies_nothing_where_one_does_not_fit(self):
        layer = torch.nn.Linear(2, 2)
        before = layer.bias.clone()
        with pytest.raises(CheckpointError, match="shapes"):
            load_weights(layer, {"weight": torch.zeros(3, 3), "bias": torch.ones(2)})
        assert torch.equal(layer.bias, before)


class TestWriteFolderAtomically:
    def test_failure_keeps_the_old_folder(self, tmp_path):
        folder = tmp_path / "c"
        write_folder_atomically(folder, lambda part: (part / "a").write_text("old"))

        def fail(part):
            (part / "a").write_text("new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(CheckpointError, match="No space left"):
            write_folder_atomically(folder, fail)
        assert (folder / "a").read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["c"]

    def test_kill_after_the_second_rename_leaves_nothing_behind(self, tmp_path, monkeypatch):
        folder = tmp_path / "c"
        write_folder_atomically(folder, lambda part: (part / "a").write_text("old"))
        with monkeypatch.context() as killed:
            killed.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: None)
            write_folder_atomically(folder, lambda part: (part / "a").write_text("new"))
        assert (tmp_path / ".c.old").is_dir()
        checkpoints.recover_folder(folder)
        assert [p.name for p in tmp_path.iterdir()] == ["c"]
        assert (folder / "a").read_text() == "new"

    def test_kill_between_the_renames_is_mended(self, tmp_path, micro, tokenizer):
        save(tmp_path / "c", micro, tokenizer)
        os.rename(tmp_path / "c", tmp_path / ".c.old")
        assert read_contract(tmp_path / "c").config == micro
