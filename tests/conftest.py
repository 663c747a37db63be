"""Fixtures that several folders of tests share."""

from pathlib import Path

import pytest

from pipelines.phantom import PhantomSettings, write_cohort


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort of six coarse exams of four patients, with faults; not to be written to."""
    folder = tmp_path_factory.mktemp("phantom")
    write_cohort(folder, PhantomSettings(n_patients=4, n_exams=6, size="small", with_faults=True))
    return folder
