import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing

from assets.cli import main
from model.inputs.tensors import Item, collate
from model.petar.checkpoints import CheckpointError, load_checkpoint, read_contract
from model.petar.config import LayoutConfig, preset
from model.petar.convert import convert, released_config
from model.petar.layouts import expected_inputs
from tests.support.petar_release import Release


@pytest.fixture
def release(micro, tokenizer, tmp_path):
    """The folder of a release of the size of `micro`, as the release's own code writes it, and the release."""
    made = Release(micro, tokenizer)
    folder = tmp_path / "release"
    folder.mkdir()
    save_file(made.state_dict(), folder / "model.safetensors")
    tokenizer.save(folder)
    return folder, made


class TestConvert:
    def test_takes_all_of_the_release(self, release, micro, tmp_path):
        report = convert([release[0]], tmp_path / "out", micro, dtype="float32")
        assert (report.missing, report.unexpected) == ((), ())

    def test_inputs_are_set_by_the_layout_of_the_weights(self, release, micro, tmp_path):
        convert([release[0]], tmp_path / "out", micro)
        layout = read_contract(tmp_path / "out").config.layout
        assert layout == expected_inputs(release[1].state_dict())

    @pytest.mark.parametrize("adds_bos", [True, False])
    def test_answers_are_those_of_the_release(self, micro, tokenizer, tmp_path, adds_bos):
        if adds_bos:
            # As Llama's tokenizer of the release: a BOS before every text.
            tokenizer.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", tokenizer.bos_id)]
            )
        release, folder = Release(micro, tokenizer), tmp_path / "release"
        folder.mkdir()
        save_file(release.state_dict(), folder / "model.safetensors")
        tokenizer.save(folder)
        convert([folder], tmp_path / "out", micro, dtype="float32")
        loaded = load_checkpoint(tmp_path / "out")
        config = loaded.contract.config
        images, focal = torch.rand(2, 3, *micro.vision.image_shape)
        for question in config.layout.questions[:3]:
            prompt = loaded.tokenizer.encode(config, question, None)
            item = Item(0, images, focal, prompt)
            batch = collate([item], loaded.tokenizer.pad_id, pad_left=True)
            ours = loaded.model.generate(
                batch.input_ids,
                batch.attention_mask,
                batch.images,
                batch.focal,
                max_new_tokens=12,
                eos_id=loaded.tokenizer.eos_id,
                pad_id=loaded.tokenizer.pad_id,
            )
            assert ours[0].tolist() == release.answer(images, focal, question, 12)

    def test_bfloat16_takes_half_the_disk(self, release, micro, tmp_path):
        for dtype in ("float32", "bfloat16"):
            convert([release[0]], tmp_path / dtype, micro, dtype=dtype)
        small, large = ((tmp_path / d / "model.safetensors").stat().st_size for d in ("bfloat16", "float32"))
        assert small == pytest.approx(large / 2, rel=0.05)

    def test_leaves_the_default_dtype(self, release, micro, tmp_path):
        convert([release[0]], tmp_path / "out", micro)
        assert torch.get_default_dtype() is torch.float32

    def test_parts_of_several_sources_make_one(self, release, micro, tmp_path):
        folder, made = release
        own = made.state_dict()
        language = {n: t for n, t in own.items() if not n.startswith(("model.vision_tower.", "model.mm_projector."))}
        rest = {n: t for n, t in own.items() if n not in language}
        save_file(rest, folder / "model.safetensors")
        save_file(language, tmp_path / "phi3.safetensors")
        report = convert([folder, tmp_path / "phi3.safetensors"], tmp_path / "out", micro, dtype="float32")
        assert report.missing == ()

    def test_a_part_that_nobody_brings_is_an_error_and_nothing_is_written(self, release, micro, tmp_path):
        folder, made = release
        save_file({n: t for n, t in made.state_dict().items() if "mm_projector" not in n}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"lack 4 tensors \(projector\.projector\.0\.weight.*--allow-missing"):
            convert([folder], tmp_path / "out", micro)
        assert not (tmp_path / "out").exists()
        assert len(convert([folder], tmp_path / "out", micro, allow_missing=True).missing) == 4

    def test_without_a_tokenizer_says_how_to_give_one(self, release, micro, tmp_path):
        (release[0] / "tokenizer_config.json").unlink()
        with pytest.raises(CheckpointError, match="--tokenizer"):
            convert([release[0]], tmp_path / "out", micro)


def toml_lines(values, prefix=""):
    """Lines of TOML that set nested values, each by its dotted name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from toml_lines(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} = {json.dumps(value)}"


class TestCommand:
    def test_converts_with_changes_of_a_preset(self, release, micro, tmp_path, capsys):
        changes = {k: v for k, v in micro.to_dict().items() if k not in ("name", "layout")}
        asked = (word for line in toml_lines(changes) for word in ("--set", line))
        call = ["model", "convert", "--weights", str(release[0]), "--to", str(tmp_path / "out"), "--preset", "tiny"]
        assert main([*call, *asked]) == 0
        assert "0 missing, 0 unexpected" in capsys.readouterr().out
        config = load_checkpoint(tmp_path / "out").contract.config
        assert config == replace(micro, name="tiny", layout=config.layout)
        assert config.layout.border == "clip"

    def test_keeps_what_the_releases_do_otherwise(self, release, micro, tmp_path):
        changes = {"vision": micro.vision.to_dict(), "language": micro.language.to_dict(), "max_length": 96}
        changes["shared_towers"] = False
        convert([release[0]], tmp_path / "out", released_config("tiny", changes))
        config = load_checkpoint(tmp_path / "out").contract.config
        assert (config.mask_numbers, config.inputs.focal_crop) == (False, "box")
        assert config.inputs.global_crop == preset("tiny").inputs.global_crop

    def test_a_layout_that_is_given_stands(self, release, micro, tmp_path):
        changes = {"vision": micro.vision.to_dict(), "language": micro.language.to_dict(), "max_length": 96}
        changes |= {"shared_towers": False, "layout": {"x_from": "left", "ct_class_token": False}}
        convert([release[0]], tmp_path / "out", released_config("tiny", changes))
        assert read_contract(tmp_path / "out").config.layout == LayoutConfig(x_from="left", ct_class_token=False)

    @pytest.mark.parametrize(("change", "words"), [("{", "--set"), ("tower = 1", "tower"), ("effort = 1.0", "shapes")])
    def test_says_what_is_wrong(self, release, tmp_path, capsys, change, words):
        call = ["model", "convert", "--weights", str(release[0]), "--to", str(tmp_path / "out"), "--preset", "tiny"]
        assert main([*call, "--set", change]) == 1
        assert words in capsys.readouterr().err
