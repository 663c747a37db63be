"""A study of lesions of one exam with images, and what its readers may say."""

from dataclasses import replace

import pytest

from model.evaluation.reader_study.cases import Case, Study

MODEL = "petar-tiny"


def case(n: int, **changes: object) -> Case:
    side = "left" if n % 2 else "right"
    text = f"Region: chest. Organ: lung. Findings: Node {side} with SUVmax of 4.2 on slice {n + 10}."
    report = f"Region: chest. Organ: lung. Findings: Avid node number in the left lung, SUVmax 4.2 (slice {n + 10})."
    made = Case(f"case-{n:02d}", f"E{n}:a", f"E{n}", f"P{n // 2}", False, text, report, "SUV.nii", None, "mask.nii.gz")
    return replace(made, **changes)


@pytest.fixture
def study() -> Study:
    """Ten lesions with a report and two of the external set, for three readers."""
    outside = [case(n, is_external=True, report=None, finding_id=f"X{n}:1") for n in (10, 11)]
    cases = tuple([*(case(n) for n in range(10)), *outside])
    return Study("0123456789ab", MODEL, ("Ä. One", "Two", "Three"), 1, cases, {"without a report": 1})
