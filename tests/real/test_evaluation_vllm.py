"""Judge and vision-language baseline against a real vLLM server: PETAR_VLLM_URL names it.

The server of CI holds a small model that reads no pictures and judges nothing: what is tested is the path, the parsing
and what becomes of answers that are none.
"""

import os

import polars as pl
import pytest

from model.evaluation.metrics import score
from model.evaluation.vlm import vlm_texts
from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.vllm_server import ServerPlan, served_models
from pipelines.settings import ScoreSettings, VlmSettings
from pipelines.tables import schemas
from pipelines.tables.home import Home

URL = os.environ.get("PETAR_VLLM_URL", "").rstrip("/").removesuffix("/v1")

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not URL, reason="PETAR_VLLM_URL names no server"),
    pytest.mark.timeout(900),
]

N = 4


@pytest.fixture(scope="module")
def model() -> str:
    host, _, port = URL.removeprefix("http://").partition(":")
    models = served_models(ServerPlan(host=host, port=int(port or 80)))
    assert models, f"expected a server at {URL}, got no answer: start it with `make vllm`"
    return models[0]


@pytest.fixture(scope="module")
def tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    keys = [{"finding_id": f"E{n}:a", "exam_id": f"E{n}", "patient_id": f"P{n}"} for n in range(N)]
    about = {"kind": "finding", "split": "test", "question": "?", "target": "Organ: lung.", "mask_label": 1}
    about |= {"suv_path": "SUV.nii", "mask_path": "mask.nii.gz", "suvmax": 4.2, "slice": 14}
    samples = [key | about | {"sample_id": key["finding_id"]} for key in keys]
    place = {"row_key": "k", "centroid_x_mm": 47.5, "centroid_k": 9.5, "mtv_ml": 8.0, "diameter_mm": 34.0}
    lesions = [key | place for key in keys]
    exams = [{"exam_id": key["exam_id"], "tracer": "FDG", "shape_k": 24} for key in keys]
    return (
        schemas.frame("samples", samples),
        schemas.frame("lesions", lesions),
        schemas.frame("exams", exams),
    )


def vlm(model: str, **changes: object) -> VlmSettings:
    return VlmSettings(**{"model": model, "base_url": f"{URL}/v1", "timeout_s": 300.0, "max_tokens": 48, **changes})


class TestVlmBaseline:
    def test_model_without_eyes_describes_by_the_measurements(self, model, lesion_images, tables, tmp_path) -> None:
        with AnswerCache(tmp_path / "answers.sqlite") as cache:
            frame = vlm_texts(*tables, Home(lesion_images), vlm(model, images=False, max_tokens=512), cache=cache)
            said = frame.filter(pl.col("text").is_not_null())
            # A small model may run on without an end, or say nothing: that is told, the others are texts.
            assert frame.height == N
            assert (frame["text"].is_null() == frame["error"].is_not_null()).all()
            assert all("cut off after" in e or "answered nothing" in e for e in frame["error"].drop_nulls())
            assert len(cache) == len(set(said["finding_id"]))

    def test_refused_pictures_are_rows_with_the_servers_words(self, model, lesion_images, tables) -> None:
        frame = vlm_texts(*tables, Home(lesion_images), vlm(model))
        assert frame["text"].null_count() == N
        assert all("answered 4" in error or "answered 5" in error for error in frame["error"])

    def test_unknown_model_is_named_with_what_is_there(self, model, lesion_images, tables) -> None:
        frame = vlm_texts(*tables, Home(lesion_images), vlm("no-such-model", images=False))
        assert all("no-such-model" in error and model in error for error in frame["error"])


class TestGreen:
    def test_answers_that_are_no_judgement_are_counted_and_told(self, model, tmp_path) -> None:
        rows = [
            {"finding_id": f"E{n}:a", "exam_id": f"E{n}", "patient_id": f"P{n}", "split": "test", "model": "m"}
            | {"text": "Avid node in the left lung.", "reference": "Avid node in the right lung."}
            for n in range(N)
        ]
        settings = ScoreSettings(
            n_resamples=20, green_url=f"{URL}/v1", green_model=model, green_max_tokens=64, green_timeout_s=300.0
        )
        row = score(schemas.frame("predictions", rows), ["GREEN"], settings).row(0, named=True)
        if row["status"] == "computed":
            assert 0 <= row["value"] <= 1
        else:
            assert row["value"] is None
            assert f"{N} of {N} not judged" in row["note"]

    def test_unknown_judge_is_not_computed(self, model) -> None:
        frame = schemas.frame(
            "predictions",
            [
                {"finding_id": "E1:a", "exam_id": "E1", "patient_id": "P1", "split": "test", "model": "m"}
                | {"text": "Avid node.", "reference": "Node."}
            ],
        )
        settings = ScoreSettings(green_url=f"{URL}/v1", green_model="no-such-judge")
        row = score(frame, ["GREEN"], settings).row(0, named=True)
        assert row["status"] == "not computed"
        assert "no-such-judge" in row["note"]
