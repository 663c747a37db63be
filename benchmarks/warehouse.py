"""The warehouse at size: 1,000,000 lesions and 3,000,000 sentences, generated; every query, the catalog's swap (the
first one, and one after a thousandth of the lesions changed), peak memory.

python -m benchmarks.warehouse [--lesions 1000000] [--sentences 3000000] [--home DIR] [--threads 2]

Prints one line a figure and exits 1 where one misses its goal: a query over 1 s, the swap over 5 s, memory over 4 GiB.
The rows go through `Lake.write_shard`, contracts and all, so writing is measured too.
"""

import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import duckdb
import numpy as np
import polars as pl
import typer

from benchmarks.figures import Figure
from pipelines.catalog.build import SQL_DIR, build_catalog, connect, list_queries
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.outcomes import Outcome
from pipelines.tables.shards import N_SHARDS, shard_of

GOAL_QUERY_S = 1.0
GOAL_SWAP_S = 5.0
GOAL_MEMORY_GIB = 4.0

_REGIONS = ("head and neck", "chest", "abdomen", "pelvis", "extremity", "spine")
_ORGANS = ("lung", "liver", "lymph node", "bone", "adrenal gland", "spleen", "thyroid", "breast", "colon", "pancreas")
_TRACERS = ("FDG", "DOTATATE", "fluciclovine", "DCFPyL", None)
_WORDS = ("Hypermetabolic", "Avid", "Intense", "Focal", "New", "Enlarging")


@dataclass(frozen=True)
class Size:
    """How much is generated; findings are the lesions and half as many again that are rejected."""

    lesions: int = 1_000_000
    sentences: int = 3_000_000

    @property
    def exams(self) -> int:
        """About eight lesions an exam."""
        return max(self.lesions // 8, N_SHARDS)


def generate(home: Path, size: Size, seed: int = 1) -> None:
    """A lake of random but valid rows, shard by shard, so that memory stays that of a shard."""
    lake = Lake(home / "lake")
    patients: list[list[str]] = [[] for _ in range(N_SHARDS)]
    for n in range(size.exams * 2 // 3):
        patients[shard_of(f"P{n:07d}")].append(f"P{n:07d}")
    for shard in range(N_SHARDS):
        rng = np.random.default_rng((seed, shard))
        for table, frame in shard_rows(rng, shard, patients[shard], size):
            _write(lake, table, shard, frame, plateau=0.4)


def change(home: Path, every: int = 1000) -> None:
    """The lake after a curation with another parameter, which moved the contour of one lesion in so many."""
    lake = Lake(home / "lake")
    for shard in range(N_SHARDS):
        frame = lake.read_shard("lesions", shard)
        moved = (pl.int_range(frame.height) % every == 0) & pl.col("mtv_ml").is_not_null()
        grown = {
            name: pl.when(moved).then(pl.col(name) * 1.1).otherwise(name) for name in ("mtv_ml", "tlg", "voxel_ml")
        }
        _write(lake, "lesions", shard, frame.with_columns(**grown), plateau=0.5)


def _write(lake: Lake, table: str, shard: int, frame: pl.DataFrame, plateau: float) -> None:
    """Writes a shard with the footer of a real one: the key of each of its exams, and what made its rows."""
    maker = {"logic": f"{table}-1", "parameters": {"contour": {"plateau": plateau}} if table == "lesions" else {}}
    keys = {exam_id: hash_of(exam_id, plateau) for exam_id in frame["exam_id"].unique(maintain_order=True)}
    made = {"default": "m", "of": {}, "by_id": {"m": maker}}
    written = lake.write_shard(table, shard, frame, {"keys": keys, "makers": made})
    if written.quarantined:
        raise SystemExit(f"generated rows break the contract of {table}: {dict(written.broken_rules)}")


def shard_rows(
    rng: np.random.Generator, shard: int, patients: Sequence[str], size: Size
) -> Iterator[tuple[str, pl.DataFrame]]:
    n_exams, n_lesions, n_sentences = size.exams // N_SHARDS, size.lesions // N_SHARDS, size.sentences // N_SHARDS
    of_patient = np.array(patients, dtype=object)[rng.integers(0, len(patients), n_exams)]
    names = [f"X{shard:02d}{i:06d}" for i in range(n_exams)]
    exams = pl.DataFrame({"exam_id": names, "patient_id": of_patient.tolist(), "row_key": "k"})
    yield "exams", _exams(rng, exams, shard)

    n_findings = n_lesions + n_lesions // 2
    sentences = _of_exams(rng, exams, n_sentences).with_columns(
        sentence_id=pl.format("{}:{}", "exam_id", pl.int_range(n_sentences)),
        sentence=_sentence(rng, n_sentences),
        start=pl.int_range(n_sentences, dtype=pl.Int64) * 60,
        is_candidate=pl.int_range(n_sentences) < n_findings,
    )
    sentences = sentences.with_columns(end=pl.col("start") + 60)
    yield "sentences", sentences

    found = sentences.head(n_findings).drop("is_candidate")
    found = found.with_columns(
        slice=pl.Series(rng.integers(1, 300, n_findings)), suvmax=pl.Series(rng.gamma(3, 3, n_findings).round(1) + 2.5)
    )
    yield "readings", _readings(rng, found)
    findings = _findings(rng, found, n_lesions)
    yield "findings", findings
    yield "peaks", _peaks(rng, exams)
    yield "calibration", _calibration(rng, exams)
    yield "lesions", _lesions(rng, findings.filter(pl.col("outcome") == "accepted"), n_lesions)


def _of_exams(rng: np.random.Generator, exams: pl.DataFrame, n: int) -> pl.DataFrame:
    return exams[rng.integers(0, exams.height, n)]


def _sentence(rng: np.random.Generator, n: int) -> pl.Series:
    words = np.array(_WORDS)[rng.integers(0, len(_WORDS), n)]
    organs = np.array(_ORGANS)[rng.integers(0, len(_ORGANS), n)]
    numbers = rng.integers(25, 400, n)
    parts = zip(words, organs, numbers, strict=True)
    return pl.Series([f"{w} focus in the {o}, SUVmax {v / 10}, slice {v}." for w, o, v in parts])


def _exams(rng: np.random.Generator, exams: pl.DataFrame, shard: int) -> pl.DataFrame:
    n = exams.height
    problem = pl.Series(rng.random(n) < 0.05)
    return exams.with_columns(
        shard=pl.lit(shard, pl.Int64),
        status=pl.when(problem).then(pl.lit("problem")).otherwise(pl.lit("ok")),
        problem=pl.when(problem).then(pl.lit(ExamProblem.NO_PET.value)),
        message=pl.when(problem).then(pl.lit("expected a PET series, got none")),
        tracer=pl.Series([_TRACERS[i] for i in rng.integers(0, len(_TRACERS), n)]),
        n_slices=pl.lit(300, pl.Int64),
        shape_k=pl.lit(300, pl.Int64),
        suv_max=pl.Series(rng.gamma(4, 10, n)),
        suv_path=pl.format("volumes/{}/SUV.nii", "exam_id"),
        **{f"spacing_{axis}_mm": pl.lit(3.0) for axis in "ijk"},
    )


def _readings(rng: np.random.Generator, found: pl.DataFrame) -> pl.DataFrame:
    """Two readers a candidate sentence; the second errs in one of twenty."""
    rows = found.drop("start", "end").with_columns(
        reader=pl.lit("rules"),
        reader_version=pl.lit("1"),
        exam=pl.lit("current"),
        role=pl.lit("lesion"),
        mention=pl.lit(1, pl.Int64),
        **dict.fromkeys(("sentence_ids", "passage_id", "passage_sentence_ids"), pl.col("sentence_id")),
    )
    other = rows.with_columns(
        reader=pl.lit("llm"),
        slice=pl.col("slice") + pl.Series((rng.random(found.height) < 0.05).astype(int)),
        error=pl.when(pl.Series(rng.random(found.height) < 0.01)).then(pl.lit("timeout")),
    )
    return pl.concat([rows.with_columns(error=pl.lit(None, pl.String)), other])


def _findings(rng: np.random.Generator, found: pl.DataFrame, n_lesions: int) -> pl.DataFrame:
    n = found.height
    reasons = (Outcome.TEMPLATE, Outcome.NOT_CURRENT, Outcome.SUV_TOO_LOW, Outcome.SEVERAL_LESIONS, Outcome.NO_ANATOMY)
    reason = pl.Series([reasons[i].value for i in rng.integers(0, len(reasons), n)])
    sides = np.array(["left", "right", None], dtype=object)[rng.integers(0, 3, n)]
    return found.rename({"suvmax": "suvmax_reported"}).with_columns(
        finding_id="sentence_id",
        outcome=pl.when(pl.int_range(n) < n_lesions + n_lesions // 10).then(pl.lit("accepted")).otherwise(reason),
        votes=pl.lit(2, pl.Int64),
        readers=pl.lit("llm, rules"),
        region=pl.Series([_REGIONS[i] for i in rng.integers(0, len(_REGIONS), n)]),
        organ=pl.Series([_ORGANS[i] for i in rng.integers(0, len(_ORGANS), n)]),
        laterality=pl.Series(sides.tolist(), dtype=pl.String),
        comparison=pl.lit("none"),
        text="sentence",
    )


def _peaks(rng: np.random.Generator, exams: pl.DataFrame) -> pl.DataFrame:
    return exams.with_columns(
        scanner=pl.lit("Maker model"),
        n_peaks=pl.Series(rng.integers(50, 1000, exams.height)),
        frame_confidence=pl.lit(1.0),
        n_findings=pl.lit(12, pl.Int64),
        peaks_path=pl.format("peaks/{}.npz", "exam_id"),
    )


def _calibration(rng: np.random.Generator, exams: pl.DataFrame) -> pl.DataFrame:
    return exams.with_columns(
        suv_scale=pl.lit(1.0),
        slice_offset=pl.lit(0, pl.Int64),
        origin=pl.lit("head"),
        slice_grid=pl.lit("pet"),
        value_noise=pl.lit(0.002),
        rounding=pl.lit("round"),
        slice_spread=pl.lit("exact"),
        calibration_source=pl.lit("cohort"),
        calibration_llr=pl.Series(rng.uniform(0, 40, exams.height)),
        calibration_support=pl.lit(8, pl.Int64),
    )


def _lesions(rng: np.random.Generator, accepted: pl.DataFrame, n_lesions: int) -> pl.DataFrame:
    n = accepted.height
    is_lesion = pl.int_range(n) < n_lesions
    voxels = rng.geometric(1 / 300, n)
    rows = accepted.select(
        "exam_id", "patient_id", "row_key", "finding_id", "sentence", "slice", "suvmax_reported"
    ).with_columns(
        outcome=pl.when(is_lesion).then(pl.lit("lesion")).otherwise(pl.lit(Outcome.NOT_IN_IMAGE.value)),
        nearest_slice_with_suvmax=pl.when(~is_lesion).then(
            pl.col("slice") + pl.Series(rng.integers(-20, 20, n)).clip(0)
        ),
        n_voxels=pl.when(is_lesion).then(pl.Series(voxels)),
        voxel_ml=pl.lit(0.027),
        suvmax=pl.when(is_lesion).then(pl.col("suvmax_reported") + pl.Series(rng.uniform(-0.1, 0.1, n))),
        background_suv=pl.Series(rng.uniform(0.5, 2, n)),
        iterations=pl.Series(rng.integers(2, 12, n)),
        method=pl.when(is_lesion).then(pl.lit("adaptive")),
        stop_reason=pl.when(is_lesion).then(pl.lit("converged")),
        mask_path=pl.when(is_lesion).then(pl.format("masks/{}/{}.nii.gz", "exam_id", pl.int_range(n))),
        evidence=pl.lit("slice+SUV"),
        **{
            f"{what}_{axis}_mm": pl.Series(rng.uniform(-300, 300, n)) for what in ("peak", "centroid") for axis in "xyz"
        },
    )
    rows = rows.with_columns(mtv_ml=pl.col("n_voxels") * pl.col("voxel_ml"), suvmean=pl.col("suvmax") * 0.6)
    return rows.with_columns(tlg=pl.col("suvmean") * pl.col("mtv_ml"), threshold_suv=pl.col("suvmax") * 0.42)


def measure_queries(home: Path, threads: int, repeats: int = 3) -> dict[str, float]:
    """Best of some runs of every query, in seconds; the first run after the swap is among them."""
    seconds = {}
    for name in list_queries():
        sql = (SQL_DIR / "queries" / f"{name}.sql").read_text()
        times = []
        for _ in range(repeats):
            with connect(Home(home)) as con:
                con.execute(f"SET threads = {threads}")
                start = time.perf_counter()
                con.sql(sql).pl()
                times.append(time.perf_counter() - start)
        seconds[name] = min(times)
    return seconds


def main(
    lesions: int = Size.lesions,
    sentences: int = Size.sentences,
    threads: int = 2,
    home: Annotated[Path | None, typer.Option(help="keep the lake here; used where it is there already")] = None,
) -> None:
    """Measures the warehouse; exits 1 where a figure misses its goal."""
    with tempfile.TemporaryDirectory() as folder:
        home = home or Path(folder)
        start = time.perf_counter()
        if not (home / "lake").exists():
            generate(home, Size(lesions, sentences))
        figures = [Figure("generated and written", time.perf_counter() - start, None)]
        start = time.perf_counter()
        summary = build_catalog(Home(home))
        figures.append(Figure("catalog swapped", time.perf_counter() - start, GOAL_SWAP_S))
        figures += [Figure(f"query {name}", s, GOAL_QUERY_S) for name, s in measure_queries(home, threads).items()]
        change(home)
        start = time.perf_counter()
        changed = build_catalog(Home(home))
        figures.append(Figure(f"swapped, {changed.diff.height} changed", time.perf_counter() - start, GOAL_SWAP_S))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures.append(Figure("peak memory", peak, GOAL_MEMORY_GIB, "GiB"))
    rows_of = ", ".join(f"{table} {n:,}" for table, n in summary.tables.items() if n)
    print(f"rows: {rows_of}; DuckDB {duckdb.__version__}, {threads} threads")
    for figure in figures:
        print(figure.line())
    raise typer.Exit(any(figure.missed for figure in figures))


if __name__ == "__main__":
    typer.run(main)
