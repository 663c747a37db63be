import itertools
import json
import os
import select
import socket
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
import torch

from assets.cli import main
from model.inputs.tensors import LesionDataset
from model.petar.checkpoints import read_tensors
from model.petar.config import TrainingSettings
from model.petar.tokenizer import train_tokenizer
from model.training.batches import Batches, StepPlan
from model.training.parallel import World
from model.training.request import StageRequest, StageSamples
from model.training.train import train_stage
from pipelines.tables.lake import Lake
from tests.support.paths import ROOT

SCRIPT = """
import json, os, sys, traceback
from pathlib import Path
import polars as pl
import torch
from model.petar.config import ModelConfig, TrainingSettings
from model.training.parallel import joined
from model.training.request import Hooks, StageRequest, StageSamples
from model.training.train import train_stage
from pipelines.tables.home import Home
torch.set_num_threads(1)

def train(given):
    samples = StageSamples.of(pl.read_parquet(given["samples"]), Home(Path(given["home"])))
    config, settings = ModelConfig.from_dict(given["config"]), TrainingSettings.from_dict(given["settings"])

    def killed(entry):
        if entry["step"] == given["dies_after"]:
            os._exit(9)

    os.environ["MASTER_PORT"] = given["port"]
    with joined("cpu") as device:
        request = StageRequest("findings_full", samples, config, settings, Path(given["out"]), device=device)
        train_stage(request, Hooks(killed))

for line in sys.stdin:
    child = os.fork()
    if not child:
        code = 1
        try:
            train(json.loads(line))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Trains what each line of its input asks for, in a process of its own: torch is imported once for all."""
TIMEOUT_S = 240


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TestWorld:
    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_shares_are_the_batch(self, size):
        items = list(range(4))
        shares = [World(rank, size).share(items) for rank in range(size)]
        assert sorted(i for share in shares for i in share) == items

    def test_alone_sums_nothing(self):
        assert World().summed(3.0, torch.device("cpu")) == 3.0


class TestSharesOfAStep:
    def batches(self, lake, micro, settings):
        words = train_tokenizer(lake.samples["target"], 400)
        return Batches(LesionDataset(lake.train, micro, words, lake.home), words.pad_id, settings)

    @pytest.mark.parametrize(("size", "batch", "accumulation"), [(2, 1, 4), (2, 4, 1), (3, 2, 2), (4, 1, 1)])
    def test_are_the_step_and_differ_by_one_sample_at_most(self, lake, micro, size, batch, accumulation):
        settings = TrainingSettings(batch_size=batch, accumulation=accumulation, epochs=1)
        batches, plan = self.batches(lake, micro, settings), StepPlan.of(9, settings)
        for step in range(len(plan.steps)):
            shares = [batches.share_of_step(plan, step, World(rank, size)) for rank in range(size)]
            assert {len(share) for share in shares} == {plan.n_batches(step, settings, World(0, size))}
            counts = [sum(map(len, share)) for share in shares]
            assert max(counts) - min(counts) <= 1
            assert sorted(k for share in shares for one in share for k in one) == sorted(plan.steps[step])
            assert all(len(one) <= batch for share in shares for one in share)

    def test_batches_hold_samples_of_like_length(self, lake, micro):
        settings = TrainingSettings(batch_size=3, accumulation=3, epochs=1)
        batches = self.batches(lake, micro, settings)
        encoded = batches.data.encoded
        (own,) = [batches.share_of_step(StepPlan.of(9, settings), 0, World())]
        lengths = [sorted(len(encoded[i].prompt) + len(encoded[i].answer) for _, i in one) for one in own]
        assert all(a[-1] <= b[0] for a, b in itertools.pairwise(lengths))


class TestTwoProcesses:
    # 9 samples in batches of 4: the last batch has one sample, so one process has none.
    SETTINGS = TrainingSettings(
        epochs=2, batch_size=4, learning_rate=3e-3, validation_samples=3, without_ct="air", save_every_s=0
    )

    def alone(self, lake, micro, settings, tmp_path):
        samples = StageSamples.of(lake.samples, lake.home)
        return train_stage(StageRequest("findings_full", samples, micro, settings, tmp_path / "alone"))

    @pytest.fixture(scope="class")
    def pair(self, tmp_path_factory):
        errors = tmp_path_factory.mktemp("pair") / "errors.txt"
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT)}
        with errors.open("w") as file:
            processes = [
                subprocess.Popen(
                    [sys.executable, "-c", SCRIPT],
                    env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                )
                for rank in range(2)
            ]
            yield processes, errors
            for process in processes:
                process.kill()
                process.communicate()

    def start(self, pair, lake, micro, settings, tmp_path, dies_after=None):
        processes, errors = pair
        lake.samples.write_parquet(tmp_path / "samples.parquet")
        given = json.dumps(
            {
                "samples": str(tmp_path / "samples.parquet"), "config": micro.to_dict(), "settings": settings.to_dict(),
                "home": str(lake.home.root), "out": str(tmp_path / "two"), "dies_after": dies_after,
                "port": str(free_port()),
            }
        )  # fmt: skip
        for process in processes:
            process.stdin.write(f"{given}\n".encode())
            process.stdin.flush()
        for process in processes:
            assert select.select([process.stdout], [], [], TIMEOUT_S)[0], errors.read_text()
            assert (int(process.stdout.readline()) == 0) == (dies_after is None), errors.read_text()
        return [json.loads(line) for line in (tmp_path / "two/log.jsonl").read_text().splitlines()]

    @pytest.mark.parametrize(("sharding", "batch"), [("none", 1), ("full", 4)])
    def test_train_what_one_trains(self, pair, lake, micro, tmp_path, sharding, batch):
        settings = replace(self.SETTINGS, sharding=sharding, batch_size=batch, accumulation=4 // batch)
        alone = self.alone(lake, micro, settings, tmp_path)
        lines = self.start(pair, lake, micro, settings, tmp_path)
        assert [e["loss"] for e in lines] == pytest.approx([e["loss"] for e in alone.curve], abs=1e-6, rel=1e-6)
        assert [e["grad_norm"] for e in lines] == pytest.approx([e["grad_norm"] for e in alone.curve], rel=1e-3)
        one, two = (read_tensors(tmp_path / name / "checkpoint/model.safetensors") for name in ("alone", "two"))
        assert all(torch.allclose(one[n], two[n], atol=1e-3) for n in one)
        assert set(one) == set(two)

    @pytest.mark.parametrize("sharding", ["none", "full"])
    def test_go_on_after_a_kill(self, pair, lake, micro, tmp_path, sharding):
        settings = replace(self.SETTINGS, sharding=sharding)
        whole = self.alone(lake, micro, settings, tmp_path)
        # States are saved after every step but the last; the fifth dies before.
        self.start(pair, lake, micro, settings, tmp_path, dies_after=5)
        again = self.start(pair, lake, micro, settings, tmp_path)
        assert json.loads((tmp_path / "two/result.json").read_text())["resumed_from_step"] == 4
        assert [e["loss"] for e in again] == pytest.approx([e["loss"] for e in whole.curve], rel=1e-3)


class TestTrainCommand:
    def call(self, home, stage, *more):
        return main(["model", "train", "--home", str(home), "--stage", stage, *more])

    def write(self, lake, tmp_path):
        samples = lake.samples
        for name in ("suv_path", "ct_path", "mask_path"):
            samples = samples.with_columns((pl.lit(f"{lake.home.root}/") + pl.col(name)).alias(name))
        Lake(tmp_path / "lake").write_table("samples", samples)

    def test_trains_from_the_lake(self, lake, tmp_path, capsys):
        self.write(lake, tmp_path)
        changes = "epochs = 1", "language_steps = 0", "validation_samples = 2"
        asked = (word for change in changes for word in ("--set", f"training.{change}"))
        assert self.call(tmp_path, "findings_full", *asked, "--device", "cpu") == 0
        assert json.loads(capsys.readouterr().out)["steps"] == 1
        assert (tmp_path / "checkpoints/findings_full/checkpoint/model.safetensors").is_file()

    def test_prints_the_plan_without_a_lake(self, tmp_path, capsys):
        assert self.call(tmp_path, "findings_full", "--set", 'preset = "petar-4b"', "--plan") == 0
        out = capsys.readouterr().out
        assert "4,012.38 M" in out
        assert "h for 10 epochs of 1,000 samples" in out

    def test_plan_counts_processes_and_the_samples_of_the_lake(self, lake, tmp_path, capsys):
        self.write(lake, tmp_path)
        asked = ["--plan", "--processes", "4", "--set", 'training.sharding = "full"']
        assert self.call(tmp_path, "findings_full", *asked) == 0
        out = capsys.readouterr().out
        assert "40 epochs of 9 samples" in out
        assert "by 4 processes" in out

    def test_reads_the_settings_of_the_cohort_and_keeps_the_resolved_ones(self, lake, tmp_path):
        self.write(lake, tmp_path)
        (tmp_path / "petar.toml").write_text("[model.training]\nepochs = 2\nlearning_rate = 0.01\nlanguage_steps = 0\n")
        changes = "stages.findings_mask.epochs = 1", "training.validation_samples = 2"
        asked = (word for change in changes for word in ("--set", change))
        assert self.call(tmp_path, "findings_mask", "--cohort", str(tmp_path), "--device", "cpu", *asked) == 0
        kept = json.loads((tmp_path / "checkpoints/findings_mask/settings.json").read_text())
        assert (kept["training"]["epochs"], kept["training"]["learning_rate"]) == (1, 0.01)
        assert (kept["made_by"], kept["processes"], kept["model"]["name"]) == ("command line", 1, "tiny")

    @pytest.mark.parametrize(
        ("stage", "change", "words"),
        [
            ("findings_full", "effort = 1.0", "curate the cohort"),
            ("findings_full", "stages.findings_full.epoch = 1", "epoch"),
            ("findings_full", "training.epochs = 0", "epochs"),
            ("findings_full", "preset = 'small-ln'", "small-lm"),
            ("findings_full", "[", "--set"),
            ("findings", "effort = 1.0", "findings_projector"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path, capsys, stage, change, words):
        assert self.call(tmp_path, stage, "--set", change) == 1
        assert words in capsys.readouterr().err

    def test_names_a_device_and_a_number_of_processes_that_cannot_be(self, tmp_path, capsys):
        assert self.call(tmp_path, "findings_full", "--device", "cuda:99") == 1
        assert "expected a device that is there (cpu" in capsys.readouterr().err
        assert self.call(tmp_path, "findings_full", "--plan", "--processes", "0") == 2
        assert "--processes" in capsys.readouterr().err
