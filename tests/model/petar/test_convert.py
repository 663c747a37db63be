import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from model.petar.checkpoints import CheckpointError, build_model, load_checkpoint
from model.petar.config import preset
from model.petar.convert import convert, main


@pytest.fixture
def release(micro, tokenizer, tmp_path, release_of):
    """The folder of a release of `micro`, and its model."""
    torch.manual_seed(1)
    model = build_model(micro, tokenizer)
    torch.nn.init.normal_(model.vision.mask_embedding.position_embeddings)
    folder = tmp_path / "release"
    folder.mkdir()
    save_file(release_of(model), folder / "model.safetensors")
    tokenizer.save(folder)
    return folder, model


class TestConvert:
    def test_is_read_back_as_the_release(self, release, micro, tmp_path):
        folder, model = release
        report = convert([folder], tmp_path / "out", micro, dtype="float32")
        assert (report.missing, report.unexpected) == ((), ())
        found = load_checkpoint(tmp_path / "out").model.state_dict()
        # A preset's vocabulary has more rows than a tokenizer of ours has tokens.
        assert all(torch.equal(t, found[n][: len(t)] if t.ndim else found[n]) for n, t in model.state_dict().items())

    def test_bfloat16_takes_half_the_disk(self, release, micro, tmp_path):
        for dtype in ("float32", "bfloat16"):
            convert([release[0]], tmp_path / dtype, micro, dtype=dtype)
        small, large = ((tmp_path / d / "model.safetensors").stat().st_size for d in ("bfloat16", "float32"))
        assert small == pytest.approx(large / 2, rel=0.05)

    def test_leaves_the_default_dtype(self, release, micro, tmp_path):
        convert([release[0]], tmp_path / "out", micro)
        assert torch.get_default_dtype() is torch.float32

    def test_parts_of_several_sources_make_one(self, release, micro, tokenizer, tmp_path, release_of):
        folder, model = release
        own = release_of(model)
        language = {n: t for n, t in own.items() if not n.startswith(("model.vision_tower.", "model.mm_projector."))}
        rest = {n: t for n, t in own.items() if n not in language}
        save_file(rest, folder / "model.safetensors")
        save_file(language, tmp_path / "phi3.safetensors")
        report = convert([folder, tmp_path / "phi3.safetensors"], tmp_path / "out", micro, dtype="float32")
        assert report.missing == ()

    def test_a_part_that_nobody_brings_is_an_error_and_nothing_is_written(self, release, micro, tmp_path, release_of):
        folder, model = release
        save_file({n: t for n, t in release_of(model).items() if "mm_projector" not in n}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"lack 4 tensors \(projector\.projector\.0\.weight.*--allow-missing"):
            convert([folder], tmp_path / "out", micro)
        assert not (tmp_path / "out").exists()
        assert len(convert([folder], tmp_path / "out", micro, allow_missing=True).missing) == 4

    def test_without_a_tokenizer_says_how_to_give_one(self, release, micro, tmp_path):
        (release[0] / "tokenizer_config.json").unlink()
        with pytest.raises(CheckpointError, match="--tokenizer"):
            convert([release[0]], tmp_path / "out", micro)


class TestCommand:
    def test_converts_with_changes_of_a_preset(self, release, micro, tmp_path, capsys):
        changes = {k: v for k, v in micro.to_dict().items() if k != "name"}
        arguments = ["--weights", str(release[0]), "--to", str(tmp_path / "out"), "--preset", "tiny"]
        assert main([*arguments, "--changes", json.dumps(changes)]) == 0
        assert "0 missing, 0 unexpected" in capsys.readouterr().out
        config = load_checkpoint(tmp_path / "out").contract.config
        assert config == replace(micro, name="tiny")

    def test_keeps_what_the_releases_do_otherwise(self, release, micro, tmp_path):
        changes = {"vision": micro.vision.to_dict(), "language": micro.language.to_dict(), "max_length": 96}
        changes["shared_towers"] = False
        arguments = ["--weights", str(release[0]), "--to", str(tmp_path / "out"), "--preset", "tiny"]
        assert main([*arguments, "--changes", json.dumps(changes)]) == 0
        config = load_checkpoint(tmp_path / "out").contract.config
        assert (config.mask_numbers, config.inputs.focal_crop) == (False, "box")
        assert config.inputs.global_crop == preset("tiny").inputs.global_crop

    @pytest.mark.parametrize(
        ("changes", "words"), [("{", "cannot convert"), ('{"tower": 1}', "tower"), ("{}", "shapes")]
    )
    def test_says_what_is_wrong(self, release, tmp_path, capsys, changes, words):
        arguments = ["--weights", str(release[0]), "--to", str(tmp_path / "out"), "--preset", "tiny"]
        assert main([*arguments, "--changes", changes]) == 1
        assert words in capsys.readouterr().err
