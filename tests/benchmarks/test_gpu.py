import json

import pytest
import torch

from benchmarks.gpu import main, measure
from model.petar.config import preset, training_settings


class TestMeasure:
    def test_tiny_on_a_cpu_has_tokens_and_no_utilisation(self, tmp_path, capsys):
        main("tiny", batch=2, length=32, steps=1, json_path=tmp_path / "out.json")
        found = json.loads((tmp_path / "out.json").read_text())
        assert [one["way"] for one in found] == ["lora", "full"]
        assert all(one["ran"] and one["tokens_per_s"] > 0 and one["mfu"] is None for one in found)
        assert found[0]["planned_gb"] < found[1]["planned_gb"]
        assert "tokens/s" in capsys.readouterr().out

    def test_what_does_not_fit_is_told_with_what_would(self, monkeypatch):
        class Small:
            total_memory = 24e9

        def too_much(*_):
            raise torch.cuda.OutOfMemoryError

        monkeypatch.setattr("benchmarks.gpu.time_steps", too_much)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Small)
        settings = training_settings("tiny", "findings_full")
        told = measure("full", preset("tiny"), settings, torch.device("cpu"), 32, 1)
        assert not told.ran
        assert "24 GB" in told.line()
        assert "small, tiny" in told.line()

    def test_too_few_tokens_for_the_image_are_refused(self):
        with pytest.raises(ValueError, match="image tokens"):
            measure("full", preset("tiny"), training_settings("tiny", "findings_full"), torch.device("cpu"), 8, 1)
