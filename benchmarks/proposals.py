"""Proposals: drawn exams of the kind that the model was trained on and of another kind, lesions put into real exams
that were left out, and false proposals on these. Prints Markdown tables.

usage: python -m benchmarks.proposals [--phantoms N] [--home HOME ... --leave-out EXAM ...] [--inserted N]

--home gives homes whose candidates are there (petar propose); of each exam that is left out the model knows nothing.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer
from numpy.typing import NDArray

from benchmarks.hard_phantoms import heading, table
from pipelines.imaging.volume import load_nifti
from pipelines.phantom.cohort import PhantomSettings
from pipelines.phantom.hard import HardSettings
from pipelines.proposals.examples import ExampleSource, LabelledExam, features_in, inserted_features, labelled_exams
from pipelines.proposals.model import Examples, ProposalModel, train
from pipelines.proposals.phantom_examples import DrawnExam, drawn_candidates, phantom_examples
from pipelines.proposals.queue import review_queue
from pipelines.settings import ProjectSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

KINDS = {"even": None, "hard": HardSettings()}
TRAIN_SEED, TEST_SEED, OTHER_LESIONS = 9101, 9202, 77
"""Seeds of the drawn exams, and of the lesions that are put into exams for the test: other ones than for training."""
FALSE_AN_EXAM = (2, 4, 8)
N_ANSWERS = 10
"""Answers of a reviewer to an exam."""
SETTINGS = ProjectSettings()
Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def found_at(exams: Sequence[DrawnExam], scores: Sequence[NDArray[np.float64]], false_an_exam: float) -> list[float]:
    """Of drawn lesions the share with a candidate of their own, and with one that covers them, above the score at which
    so many others an exam are proposed."""
    others, best = [], []
    for exam, score in zip(exams, scores):
        is_other = np.ones(len(score), bool)
        for rows in exam.covering:
            is_other[rows] = False
        others.append(score[is_other])
        for rows in zip(exam.own, exam.covering):
            best.append([score[r].max() if len(r) else -np.inf for r in rows])
    ranked = np.sort(np.concatenate(others))[::-1]
    at = int(false_an_exam * len(exams))
    threshold = ranked[at] if at < len(ranked) else -np.inf
    return [float(share) for share in (np.array(best) > threshold).mean(axis=0)]


def phantoms(count: int) -> None:
    """Prints the table of drawn exams."""
    drawn = {
        (kind, seed): list(drawn_candidates(PhantomSettings(count, count, seed, hard=hard), SETTINGS))
        for kind, hard in KINDS.items()
        for seed in (TRAIN_SEED, TEST_SEED)
    }
    even, hard = (Examples.joined([exam.examples(1.0) for exam in drawn[kind, TRAIN_SEED]]) for kind in KINDS)
    models = {
        "even": train(even),
        "hard": train(hard),
        "both": train(Examples.joined([even, hard])),
        "lesions of even, others of hard": train(Examples.joined([_part(even, True), _part(hard, False)])),
        "lesions of hard, others of even": train(Examples.joined([_part(hard, True), _part(even, False)])),
    }
    heading("Drawn exams", "share of the lesions at one false proposal an exam")
    rows = []
    for test in KINDS:
        exams = drawn[test, TEST_SEED]
        scores = {"prominence, organ veto": [np.where(e.is_vetoed, -1.0, e.prominence_suv) for e in exams]}
        scores |= {
            f"trained on {name}": [model.probability(e.features) for e in exams] for name, model in models.items()
        }
        for name, own in scores.items():
            rows.append([name, test, *(f"{v:.2f}" for v in found_at(exams, own, 1.0))])
        reach = ([len(r) > 0 for e in exams for r in e.own], [len(r) > 0 for e in exams for r in e.covering])
        rows.append(["any order could find", test, *(f"{np.mean(one):.2f}" for one in reach)])
        rows.append(["candidates an exam", test, f"{np.mean([len(e.features) for e in exams]):.0f}", ""])
    table(["by", "tested on", "own peak", "covered"], rows)


def _part(examples: Examples, is_lesion: bool) -> Examples:
    """The lesions of examples, or all others."""
    kept = examples.is_lesion == is_lesion
    return Examples(examples.features[kept], examples.is_lesion[kept], examples.weight[kept])


def of_home(home: Home) -> tuple[list[LabelledExam], pl.DataFrame]:
    """Exams of a home with located lesions, and its candidates."""
    lake = Lake(home.lake)
    located = lake.read_table("lesions").filter(pl.col("outcome") == "lesion")
    physiologic = lake.read_table("findings").select("finding_id", "is_physiologic")
    candidates = lake.read_table("candidates")
    labelled = labelled_exams(lake.read_table("exams"), candidates, located.join(physiologic, on="finding_id"))
    return labelled, candidates


def real(homes: Sequence[Home], left_out: Sequence[str], inserted: int) -> None:
    """Prints the tables of real exams that were left out one at a time."""
    known = [(home, *of_home(home)) for home in homes]
    found, answered = [], []
    for exam_id in left_out:
        home, own = next((h, one) for h, labelled, _ in known for one in labelled if one.exam["exam_id"] == exam_id)
        volume = load_nifti(home.root / own.exam["suv_path"])
        ct = load_nifti(home.root / own.exam["ct_path"]) if own.exam["ct_path"] else None
        tests = [one for one, _ in inserted_features(exam_id, volume, ct, inserted, SETTINGS, OTHER_LESIONS)]
        for name, phantom_exams in (("cohort", 0), ("cohort and phantoms", SETTINGS.proposals.phantom_exams)):
            parts, shares = [], []
            for n, (where, labelled, candidates) in enumerate(known):
                others = [one for one in labelled if one.exam["exam_id"] != exam_id]
                mine = with_phantoms(phantom_exams if n == 0 else 0)
                rest = candidates.filter(pl.col("exam_id") != exam_id)
                one = ExampleSource(where, mine, logging.getLogger(__name__)).examples(others, rest, {})
                parts += [one] if one is not None else []
                shares += [one.share] if one is not None and one.share is not None else []
            model = train(Examples.joined(parts, float(np.mean(shares))))
            others_p = np.sort(model.probability(features_in(own.candidates))[~own.is_lesion])[::-1]
            best = np.array([p_of(model.probability, features, rows) for features, owns in tests for rows in owns])
            at = [f"{np.mean(best > others_p[n]):.2f}" for n in FALSE_AN_EXAM]
            n_false = int((others_p / SETTINGS.proposals.mentioned >= 0.5).sum())
            found.append([exam_id, name, str(len(best)), *at, str(n_false)])
        answered.append([exam_id, *after_answers(known, own, home, tests)])
    heading("Real exams left out", "inserted lesions found at 2, 4, 8 false proposals; other candidates at p >= 0.5")
    table(["exam", "trained on", "inserted", "at 2", "at 4", "at 8", "false at 0.5"], found)
    heading("Answers", f"other candidates at p >= 0.5 (inserted at 4); {N_ANSWERS} answers on each of two other exams")
    table(["exam", "drawn exams alone", "with one answered", "with both"], answered)


def with_phantoms(count: int) -> ProjectSettings:
    """The settings with so many drawn exams."""
    return SETTINGS.changed(proposals=SETTINGS.proposals.changed(phantom_exams=count))


def after_answers(
    known: Sequence[tuple[Home, Sequence[LabelledExam], pl.DataFrame]],
    own: LabelledExam,
    home: Home,
    tests: Sequence[tuple[NDArray[np.float64], list[NDArray[np.int64]]]],
) -> list[str]:
    """Other candidates of an exam at p >= 0.5 by drawn exams alone, and after a reviewer answered to what is listed of
    one and of two further exams (those with the most candidates): the reports of the cohort say what the answers are,
    and nothing else is learnt of them. Beside it the inserted lesions found at 4 others.
    """
    exams = [one for _, labelled, _ in known for one in labelled if one is not own]
    exams.sort(key=lambda one: -one.candidates.height)
    answers: dict[str, str] = {}
    source = ExampleSource(home, SETTINGS, logging.getLogger(__name__))
    every = pl.concat([candidates for _, _, candidates in known])
    model = train(Examples.joined(phantom_examples(home.root / "proposals" / "phantoms", SETTINGS)))
    counts = [_false(model, own, tests)]
    for one in exams[:2]:
        p = list(model.probability(features_in(one.candidates)))
        names = one.candidates["candidate_id"].to_list()
        listed = review_queue(names, p, p, SETTINGS.proposals.changed(most_an_exam=N_ANSWERS))
        truth = dict(zip(names, one.is_lesion))
        answers |= {name: "lesion" if truth[name] else "physiologic" for name in listed}
        examples = source.examples([], every, answers)
        assert examples is not None
        model = train(examples)
        counts.append(_false(model, own, tests))
    return counts


def _false(
    model: ProposalModel, own: LabelledExam, tests: Sequence[tuple[NDArray[np.float64], list[NDArray[np.int64]]]]
) -> str:
    others = np.sort(model.probability(features_in(own.candidates))[~own.is_lesion])[::-1]
    best = np.array([p_of(model.probability, features, rows) for features, owns in tests for rows in owns])
    return f"{int((others / SETTINGS.proposals.mentioned >= 0.5).sum())} ({np.mean(best > others[4]):.2f})"


def p_of(score: Score, features: NDArray[np.float64], rows: NDArray[np.int64]) -> float:
    """The score of the likeliest of some candidates; -inf: there is none."""
    if not len(rows):
        return -np.inf
    return float(score(features[rows]).max())


def main(
    phantom_exams: Annotated[int, typer.Option("--phantoms", help="drawn exams a kind and seed; 0: none")] = 24,
    home: Annotated[list[Path] | None, typer.Option(help="homes of real cohorts")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="exams that are left out, one at a time")] = None,
    inserted: Annotated[int, typer.Option(help="lesions put into an exam that was left out")] = 120,
) -> None:
    """Prints the tables."""
    if phantom_exams:
        phantoms(phantom_exams)
    if home and leave_out:
        real([Home(path) for path in home], leave_out, inserted)


if __name__ == "__main__":
    typer.run(main)
