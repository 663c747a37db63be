"""Where texts on held-out lesions come from: checkpoints, baselines, files, vision-language models; each is a part of
`predictions`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from model.evaluation.baselines import nearest_neighbour, template
from model.evaluation.prediction_files import prediction_files, read_predictions
from model.evaluation.predictions import (
    TableReport,
    checkpoint_version,
    drop_part,
    held_out_findings,
    update_part,
)
from model.training.provenance import check_provenance
from pipelines.dataset.samples import untexted_samples
from pipelines.reports.llm.answers import AnswerCache
from pipelines.settings import CheckpointSettings, SampleSettings, VlmSettings
from pipelines.tables import schemas
from pipelines.tables.hashing import hash_of, hash_of_files
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.provenance import code_version


def update_checkpoint_texts(
    home: Home,
    source: str,
    chosen: CheckpointSettings,
    *,
    allow_other_samples: bool = True,
    untexted: SampleSettings | None = None,
) -> TableReport:
    """Texts of a checkpoint of `model/` (PETAR's own, M3D-RAD, another site's) for every held-out finding.

    One trained here must have seen these samples' training split and no other: `allow_other_samples` false. With
    `untexted` (how samples are made) the lesions that nobody described get their texts too, without a reference.

    Raises:
        ProvenanceError: it was trained on other samples, and that is not allowed.
        ValueError: no finding is held out.
        FileNotFoundError: there is no checkpoint.
    """
    described, state = _to_describe(home, untexted)
    folder = chosen.folder
    if folder is None:
        raise FileNotFoundError(f"expected the folder of the checkpoint {chosen.name}, got none: set `folder`")

    def make() -> pl.DataFrame:
        # Not at module level: where nothing changed, torch is not needed.
        from model.serving.generation import generate

        check_provenance(folder, Lake(home.lake).read_table("samples"), home, allow=allow_other_samples)
        problems: dict[str, str] = {}
        frame = generate(
            described, folder, home, model_name=chosen.name, on_problem=lambda i, m: problems.update({i: m})
        )
        reasons = [problems.get(i) for i in described["sample_id"]]
        reference = pl.when(pl.col("reference") != "").then("reference")
        return frame.with_columns(reference, error=pl.Series(reasons, dtype=pl.String))

    made_from = {
        "checkpoint": checkpoint_version(folder),
        "model": chosen.name,
        "code": code_version("model.serving.generation"),
        **({"untexted": state} if state else {}),
    }
    return update_part(home, source, made_from, make)


def _to_describe(home: Home, untexted: SampleSettings | None) -> tuple[pl.DataFrame, str]:
    """(samples that a checkpoint describes, hash of those among them that nobody described; empty where none is)."""
    held_out = held_out_findings(home)
    if untexted is None:
        return held_out, ""
    lake = Lake(home.lake)
    lesions, findings, exams = (lake.read_table(name) for name in ("lesions", "findings", "exams"))
    more = untexted_samples(lesions, findings, exams, untexted)
    if more.is_empty():
        return held_out, ""
    masks = hash_of_files((path, home.file(path)) for path in more["mask_path"].unique().sort())
    return pl.concat([held_out, more]), hash_of(more.rows(), masks)


def no_texts(home: Home, source: str, why: str) -> TableReport:
    """A source that has no text, with the reason as its problem."""
    return update_part(home, source, {"why": why}, lambda: (schemas.empty("predictions"), [why]))


def update_baseline_texts(home: Home) -> TableReport:
    """Texts of the two baselines that need no weights: the nearest training lesion, and the template."""
    held_out = held_out_findings(home)

    def make() -> pl.DataFrame:
        if held_out.is_empty():
            return schemas.empty("predictions")
        lake = Lake(home.lake)
        samples, lesions, exams = (lake.read_table(name) for name in ("samples", "lesions", "exams"))
        return pl.concat([baseline(samples, lesions, exams) for baseline in (nearest_neighbour, template)])

    return update_part(home, "baselines", {"code": code_version("model.evaluation.baselines")}, make)


def update_file_texts(home: Home, folder: Path) -> TableReport:
    """Texts of other models, read from the files of a folder; a file that went takes its texts along."""
    held_out = held_out_findings(home)
    wanted = {_source("file", path.name): path for path in prediction_files(folder)}
    _drop_others(home, "file", wanted)
    reports = []
    for source, path in wanted.items():

        def make(path: Path = path) -> tuple[pl.DataFrame, Sequence[str]]:
            read = read_predictions(path, held_out)
            return read.frame, read.problems

        read_by = code_version("model.evaluation.prediction_files")
        made_from = {"file": hash_of_files([(path.name, path)]), "code": read_by}
        reports.append(update_part(home, source, made_from, make))
    return _together(reports)


def update_vlm_texts(home: Home, vlms: Sequence[VlmSettings], api_keys: Mapping[str, str] | None = None) -> TableReport:
    """Texts of every vision-language model that is named. What failed is asked again by the next call.

    `api_keys`: key of a server by the name of its environment variable.
    """
    held_out = held_out_findings(home)
    wanted = {_source("vlm", vlm.label): vlm for vlm in vlms}
    _drop_others(home, "vlm", wanted)
    lake = Lake(home.lake)
    reports = []
    for source, vlm in wanted.items():

        def make(vlm: VlmSettings = vlm) -> tuple[pl.DataFrame, Sequence[str]]:
            from model.evaluation.vlm import vlm_texts

            tables = lake.read_table("lesions"), lake.read_table("exams")
            key = (api_keys or {}).get(vlm.api_key_env) or "EMPTY"
            with AnswerCache(home.answers) as cache:
                frame = vlm_texts(held_out, *tables, home, vlm, api_key=key, cache=cache)
            failed = frame.filter(pl.col("error").is_not_null())
            problems = [
                f"{vlm.label}: {n} of {frame.height} lesions: {error}"
                for error, n in failed["error"].value_counts(sort=True).head(3).iter_rows()
            ]
            return frame, problems

        asked = {"model": vlm.model, "label": vlm.label, "images": vlm.images, "max_tokens": vlm.max_tokens}
        asked["code"] = code_version("model.evaluation.vlm")
        reports.append(update_part(home, source, asked, make, retry_failed=True))
    return _together(reports)


def update_other_checkpoints(
    home: Home, checkpoints: Sequence[CheckpointSettings], untexted: SampleSettings | None = None
) -> TableReport:
    """Texts of every further checkpoint that is named; one that is not there is a problem, the others are done."""
    wanted = {_source("checkpoint", chosen.name or str(chosen.folder)): chosen for chosen in checkpoints}
    _drop_others(home, "checkpoint", wanted)
    reports, problems = [], []
    for source, chosen in wanted.items():
        try:
            reports.append(update_checkpoint_texts(home, source, chosen, untexted=untexted))
        except FileNotFoundError as error:
            problems.append(f"{chosen.name}: {error}")
    return _together(reports, problems)


def _source(kind: str, name: str) -> str:
    """Name of a part: kind, name in letters that every file system takes, and a hash that distinguishes like names."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-.')}-{hash_of(name)[:6]}"


def _drop_others(home: Home, kind: str, wanted: Mapping[str, object]) -> None:
    for path in home.texts.glob(f"{kind}-*.parquet"):
        if path.stem not in wanted:
            drop_part(home, path.stem)


def _together(reports: Sequence[TableReport], problems: Sequence[str] = ()) -> TableReport:
    frames = [report.frame for report in reports]
    frame = pl.concat(frames) if frames else schemas.empty("predictions")
    reported = [problem for report in reports for problem in report.problems]
    version = hash_of([report.version for report in reports])
    recomputed, reused = (sum(getattr(report, name) for report in reports) for name in ("recomputed", "reused"))
    return TableReport(frame, version, recomputed, reused, (*reported, *problems))
