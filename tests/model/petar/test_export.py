"""An exported folder generates by transformers alone, in a process that cannot import this project."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from assets.cli import main
from model.petar.checkpoints import Contract, StageRecord, build_model, load_checkpoint, save_checkpoint, versions
from model.petar.config import LayoutConfig
from model.petar.export import model_card, own_scores
from pipelines.tables.lake import Lake
from pipelines.tables.schemas import frame

ALONE = """
import json, sys
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer
folder, inputs = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
given = load_file(inputs)
ids = model.prompt_ids(tokenizer)
tokens = model.generate(ids, given["images"], given.get("focal"), max_new_tokens=12)
missing = [name for name in ("model", "pipelines") if name in sys.modules]
print(json.dumps([ids.tolist(), tokens.tolist(), missing]))
"""


RELEASE = LayoutConfig(text="joint", ct_class_token=False)


@pytest.fixture
def saved(micro, tokenizer, tmp_path):
    def save(**changes):
        config = replace(micro, **changes)
        torch.manual_seed(3)
        model = build_model(config, tokenizer)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
        lineage = (StageRecord("findings_full", "abc123", 9, 4, 2.0, 1.0, 1.5, curation="c0ffee"),)
        save_checkpoint(tmp_path / "own", model, tokenizer, Contract(config, lineage, versions()))
        return load_checkpoint(tmp_path / "own")

    return save


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": LayoutConfig(text="joint", ct_class_token=False)},
        {"use_ct": False, "use_mask": False, "use_focal": False},
    ],
    ids=["all inputs as the release has them", "PET alone"],
)
def test_transformers_alone_generates_what_we_do(saved, tmp_path, changes):
    checkpoint = saved(**changes)
    config, words = checkpoint.contract.config, checkpoint.tokenizer
    assert main(["model", "export", "--checkpoint", str(tmp_path / "own"), "--to", str(tmp_path / "out")]) == 0
    images, focal = torch.rand(2, 1, 3, *config.vision.image_shape)
    given = {"images": images} | ({"focal": focal} if config.use_focal else {})
    save_file({name: tensor.contiguous() for name, tensor in given.items()}, tmp_path / "in.safetensors")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "out"), str(tmp_path / "in.safetensors")],
        env=kept | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")},
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip(), done.stderr[-3000:]
    ids, tokens, ours = json.loads(done.stdout.splitlines()[-1])
    assert ours == []
    ids = torch.tensor(ids)
    mask = torch.ones_like(ids)
    expected = checkpoint.model.generate(
        ids, mask, images, given.get("focal"), max_new_tokens=12, eos_id=words.eos_id, pad_id=words.pad_id
    )
    assert tokens == expected.tolist()
    assert (
        ids.tolist()[0] == words.encode(config, "Please describe the region highlighted in the PET image.", None).prompt
    )


def test_card_has_scores_data_version_and_limits(saved):
    row = {
        "model": "petar-micro", "split": "test", "metric": "organ", "numbers": "measured", "subset": "all",
        "value": 0.5, "low": 0.4, "high": 0.6, "n": 30,
        "status": "computed",
    }  # fmt: skip
    card = model_card(saved(), pl.concat([frame("scores", [row])]))
    assert "| test | organ | measured | 0.500 [0.400, 0.600] | 30 |" in card
    assert "Data version: c0ffee." in card
    assert "## Limits" in card
    assert "was not evaluated" in model_card(saved())


def test_scores_are_those_of_the_home_where_it_is_the_last_checkpoint(saved, tmp_path):
    row = {"model": "petar-micro", "split": "test", "metric": "organ", "numbers": "measured", "subset": "all"}
    row |= {"n": 30, "signature": "s"}
    rows = [row | {"status": "computed", "value": 0.5}, row | {"model": "other", "status": "computed", "value": 0.9}]
    Lake(tmp_path / "home/lake").write_table("scores", pl.concat([frame("scores", [one]) for one in rows]))
    elsewhere = saved()
    last = tmp_path / "home/checkpoints/findings_full/checkpoint"
    shutil.copytree(elsewhere.folder, last)
    found = own_scores(load_checkpoint(last))
    assert found is not None
    assert found["value"].to_list() == [0.5]
    assert own_scores(elsewhere) is None
