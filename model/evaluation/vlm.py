"""Texts of a vision-language model on an OpenAI-compatible server (MedGemma, Qwen3-VL, InternVL over vLLM): three
slices of each lesion go out, an answer or a reason comes back.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from model.evaluation.baselines import side_of
from model.inputs.numbers import measured_of, put_in_measured
from pipelines.imaging.problems import ExamError
from pipelines.imaging.slices import PLANES, lesion_slices
from pipelines.imaging.volume import load_nifti
from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.chat import QuestionError, ask_all
from pipelines.reports.llm.servers import ServerSettings
from pipelines.settings import VlmSettings
from pipelines.tables import schemas
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.safe_text import error_reason

_PROMPTS = Path(__file__).with_name("prompts")


class PictureError(QuestionError):
    """A lesion that cannot be drawn; the message says why."""


@dataclass(frozen=True)
class LesionQuestion:
    """What is asked about a lesion: the prompt and, unless `images` is off, three pictures, drawn when they are sent.

    A question's text is the finding's id with a hash of what is shown and said of it, so that answers are kept by that
    and not by the code that draws.
    """

    rows: Mapping[str, Mapping[str, Any]]
    """Text of a question -> row of `samples` with the lesion's measures."""
    home: Home
    images: bool = True
    schema_text: str = field(default="", init=False)

    @property
    def template(self) -> str:
        """The prompt with its places to fill."""
        return (_PROMPTS / ("vlm-v1.txt" if self.images else "vlm-text-v1.txt")).read_text().strip()

    @property
    def version(self) -> str:
        """The prompt."""
        return f"{'vlm-v1' if self.images else 'vlm-text-v1'}@{hash_of(self.template)[:8]}"

    def messages(self, text: str) -> list[dict[str, Any]]:
        """One turn: the pictures as PNG data URLs, each with its plane's name, and the prompt.

        Raises:
            PictureError: the lesion cannot be drawn.
        """
        return self.messages_of(self.rows[text])

    def messages_of(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The same of a row of `samples` with the lesion's measures."""
        prompt = self.template.replace("{tracer}", row.get("tracer") or "").replace("{measures}", in_words(row))
        prompt = " ".join(prompt.split(" "))
        if not self.images:
            return [{"role": "user", "content": prompt}]
        pictures = self._pictures(row)
        content: list[dict[str, Any]] = []
        for plane in PLANES:
            data = base64.b64encode(pictures[plane]).decode()
            content.append({"type": "text", "text": f"{plane}:"})
            content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
        return [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]

    def _pictures(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        try:
            suv, mask = load_nifti(self.home.file(row["suv_path"])), load_nifti(self.home.file(row["mask_path"]))
            ct = load_nifti(self.home.file(row["ct_path"])) if row.get("ct_path") else None
            return lesion_slices(suv, mask, ct)
        except (ExamError, OSError, ValueError) as error:
            reason = error.message if isinstance(error, ExamError) else error_reason(error)
            raise PictureError(f"exam {row['exam_id']}: the slices cannot be drawn: {reason}") from error

    def response_format(self) -> None:
        """The answer is free."""
        return None


def in_words(row: Mapping[str, Any]) -> str:
    """What was measured on a lesion's mask, as a sentence: what a model without eyes has to go by."""
    x, k, n = row.get("centroid_x_mm"), row.get("centroid_k"), row.get("shape_k")
    parts = [
        None if x is None else f"side {side_of(x) or 'midline'}",
        f"{100 * k / n:.0f} % of the way from the lower to the upper end of the scan" if k is not None and n else None,
        f"SUVmax {row['suvmax']:.1f}" if row.get("suvmax") is not None else None,
        f"volume {row['mtv_ml']:.1f} mL" if row.get("mtv_ml") is not None else None,
        f"largest diameter {row['diameter_mm']:.0f} mm" if row.get("diameter_mm") is not None else None,
    ]
    return ", ".join(p for p in parts if p) + "."


def vlm_texts(
    held_out: pl.DataFrame,
    lesions: pl.DataFrame,
    exams: pl.DataFrame,
    home: Home,
    vlm: VlmSettings,
    *,
    api_key: str = "EMPTY",
    cache: AnswerCache | None = None,
) -> pl.DataFrame:
    """A row of `predictions` for every held-out finding (rows of `samples`): the model's text, or why there is none.

    Answers that come are kept in the cache at once, so that a killed run goes on where it stopped and a later one asks
    only for what failed. `lesions` are rows of `lesions`, `exams` of the table of that name.
    """
    measures = ["centroid_x_mm", "centroid_k", "mtv_ml", "suvmean", "suvpeak", "diameter_mm"]
    rows = (
        held_out.join(lesions.select("finding_id", *measures), on="finding_id", how="left", maintain_order="left")
        .join(exams.select("exam_id", "tracer", "shape_k"), on="exam_id", how="left", maintain_order="left")
        .to_dicts()
    )
    texts = {f"{row['finding_id']} {_fingerprint(row, home, vlm.images)}": row for row in rows}
    server = ServerSettings.of(vlm, api_key=api_key)
    question = LesionQuestion(texts, home, vlm.images)
    answers = ask_all(server, question, list(texts), cache, _nothing_said, name=vlm.label)
    return schemas.frame(
        "predictions",
        [
            {name: row[name] for name in ("finding_id", "exam_id", "patient_id", "split")}
            | {
                "model": vlm.label,
                "text": answer.text,
                "text_measured": None if answer.text is None else put_in_measured(answer.text, measured_of(row)),
                "reference": row["target"],
                "checkpoint": f"{vlm.model} {question.version}",
                "error": answer.error,
            }
            for row, answer in zip(texts.values(), answers, strict=True)
        ],
    )


def _fingerprint(row: Mapping[str, Any], home: Home, images: bool) -> str:
    """Hash of all that a model is shown and told of a lesion."""
    try:
        return hash_of(LesionQuestion({}, home, images).messages_of(row))[:16]
    except PictureError:
        return "not drawn"  # Whoever sends the question meets it again, and its reason.


def _nothing_said(answer: str) -> str | None:
    return None if answer.strip() else "expected a text, the model answered nothing"
