"""The digital cohort of demo, tests and benchmarks: whole-body PET/CT of drawn patients, reports, and the truth."""

from pipelines.phantom.cohort import PhantomCohort, PhantomError, PhantomSettings, add_exam, write_cohort

__all__ = ["PhantomCohort", "PhantomError", "PhantomSettings", "add_exam", "write_cohort"]
