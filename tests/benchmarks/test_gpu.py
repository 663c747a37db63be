import json
import subprocess
import sys

import pytest
import torch

from benchmarks import gpu
from model.petar.config import preset
from tests.support.paths import ROOT


def test_tiny_on_a_cpu_has_every_point_and_no_utilisation(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "BATCHES", (1, 2))
    # Compilers are not everywhere: the blocks are traced, not compiled.
    traced = gpu.compile_blocks
    monkeypatch.setattr(gpu, "compile_blocks", lambda model: traced(model, backend="eager"))
    monkeypatch.setattr(gpu, "VOLUME", (170, 120, 120))
    arguments = [
        "--preset",
        "tiny",
        "--length",
        "32",
        "--steps",
        "1",
        "--warm",
        "1",
        "--device",
        "cpu",
        "--ways",
        "lora",
    ]
    assert gpu.main([*arguments, "--json", str(tmp_path / "out.json")]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    points = [(p["point"]["batch"], p["point"]["recompute"]) for p in found[:4]]
    assert points == [(1, False), (2, False), (1, True), (2, True)]
    assert [p["point"]["loader"] for p in found[4:]] == [True, False]
    assert [p["point"]["compiled"] for p in found[4:]] == [False, True]
    assert all(p["ran"] and p["samples_per_s"] > 0 and p["mfu"] is None for p in found)
    assert "samples/s" in capsys.readouterr().out


def test_what_does_not_fit_is_told_with_what_would(monkeypatch):
    class Small:
        total_memory = 24e9

    def too_much(*_):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Small)
    bench = gpu.Bench("full", preset("tiny"), torch.device("cpu"), 32)
    monkeypatch.setattr(bench, "time_steps", too_much)
    told = bench.measure(gpu.Point("full", 1, False), 1, 1)
    assert not told.ran
    assert "24 GB" in told.line()
    assert "small, tiny" in told.line()


def test_too_few_tokens_for_the_image_are_refused():
    with pytest.raises(ValueError, match="image tokens"):
        gpu.MadeUpSamples(preset("tiny"), 8, 1)


def test_needs_neither_tables_nor_image_readers():
    unwanted = ["polars", "SimpleITK", "dagster", "duckdb"]
    code = f"import sys, benchmarks.gpu; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
