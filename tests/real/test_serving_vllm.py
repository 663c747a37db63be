"""`small-lm` with its language part on a real vLLM server on the CPU: its texts are those of the one process."""

import json
import socket

import polars as pl
import pytest
import torch

from model.inputs.tensors import LesionDataset
from model.petar.checkpoints import Checkpoint, Contract, build_model
from model.petar.config import SMALL_LM_WEIGHTS, InputsConfig, VisionConfig, preset
from model.petar.tokenizer import load_tokenizer
from model.petar.weights import load_public_weights
from model.serving.engines import Ask, OwnEngine, VllmEngine
from model.serving.language_server import language_plan, language_server
from pipelines.reports.llm.vllm_server import ServerPlan
from pipelines.tables.home import Home
from pipelines.tables.packaged_files import PACKAGE, PackageError, packaged_file
from tests.model.conftest import write_lake

VENV = ServerPlan().venv
QUESTIONS = ["Please describe the region highlighted in the PET image.", "Where is it?", "What is it?"]

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.pretrained,
    pytest.mark.skipif(not (VENV / "petar" / "installed.json").exists(), reason="no environment of vLLM: make vllm"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    try:
        gguf = packaged_file(SMALL_LM_WEIGHTS.removeprefix(PACKAGE), ".gguf")
    except PackageError as error:
        pytest.skip(f"no language model without network: {error}")
    vision = VisionConfig(image_shape=(8, 16, 16), patch_shape=(4, 8, 8), width=32, layers=1, heads=2, mlp_width=64)
    inputs = InputsConfig(global_crop="whole", field_voxels=(60, 40, 40))
    config = preset("small-lm", vision=vision, inputs=inputs, max_length=128)
    words = load_tokenizer(gguf)
    torch.manual_seed(0)
    model = build_model(config, words, len(words))
    report = load_public_weights(model, gguf)
    return Checkpoint(model, words, Contract(config), report, tmp_path_factory.mktemp("checkpoint"))


def test_greedy_texts_are_those_of_the_model_in_one_process(checkpoint, tmp_path) -> None:
    lake = write_lake(Home(tmp_path / "home"))
    samples = lake.samples.head(3).with_columns(pl.Series("question", QUESTIONS))
    data = LesionDataset(samples, checkpoint.contract.config, checkpoint.tokenizer, lake.home, answers=False)
    questions = [Ask(data[i], 24) for i in range(len(data))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plan = language_plan(checkpoint, json.dumps(QUESTIONS), ServerPlan(port=port))
    with language_server(checkpoint, plan):
        served = VllmEngine(checkpoint, plan.url, plan.name).answers(questions)
    assert served == OwnEngine(checkpoint).answers(questions)
    assert len({answer.text for answer in served}) > 1
