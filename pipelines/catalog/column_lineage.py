"""Column lineage: the source columns of every column of every table and view.

A rule gives columns (words; `*` is all that no earlier rule names) and what they are made from (`table.column`,
words; `cohort` is the cohort as observed, `cohort.corrections` its file of corrections). Keys that only join rows are
not told.
"""

from collections.abc import Mapping, Sequence

from pipelines.tables import schemas

Rules = Sequence[tuple[str, str]]

COHORT = "cohort"
"""Stands for the observed cohort folder; its columns are the fields of `pipelines.cohort.manifest.ExamEntry`."""

_IMAGE = "exams.suv_path exams.spacing_i_mm exams.spacing_j_mm exams.spacing_k_mm"
_ASKED = "findings.slice findings.suvmax_reported findings.laterality findings.sentence"
_READ = (
    "readings.slice readings.suvmax readings.n_lesions readings.exam readings.role readings.refused readings.error"
    " readings.reader"
)
_WORDS = "findings.sentence findings.text"

TABLES: Mapping[str, Rules] = {
    "exams": (
        ("exam_id", "cohort.exam_id"),
        ("patient_id", "cohort.patient_id"),
        ("shard", "cohort.patient_id"),
        ("report_message", "cohort.report_problem"),
        ("tracer", "cohort.tracer cohort.folder"),
        ("study_date", "cohort.study_date cohort.folder"),
        ("image_fingerprint", "cohort.image_fingerprint"),
        ("split", "cohort.split"),
        ("given_masks given_message", "cohort.folder cohort.given"),
        ("status problem message", "cohort.folder cohort.has_report"),
        ("row_key", "cohort.image_fingerprint cohort.has_report cohort.tracer"),
        ("*", "cohort.folder"),
    ),
    "sentences": (
        ("exam_id sentence_id", "cohort.exam_id cohort.report"),
        ("patient_id", "cohort.patient_id"),
        ("row_key", "cohort.report_fingerprint"),
        ("*", "cohort.report"),
    ),
    "readings": (
        ("exam_id", "sentences.exam_id"),
        ("patient_id", "sentences.patient_id"),
        ("sentence_id", "sentences.sentence_id"),
        ("sentence", "sentences.sentence"),
        ("row_key", "sentences.sentence_id sentences.sentence"),
        ("reader reader_version", ""),
        ("*", "sentences.sentence sentences.section"),
    ),
    "findings": (
        ("exam_id", "sentences.exam_id"),
        ("patient_id", "sentences.patient_id"),
        ("sentence_id", "sentences.sentence_id"),
        ("finding_id sentence", "sentences.sentence_id sentences.sentence sentences.start exams.given_masks"),
        ("start end", "sentences.sentence_id sentences.sentence sentences.start"),
        (
            "slice suvmax_reported outcome explanation votes readers agreement text_evidence is_physiologic size_cm"
            " n_lesions prior_suvmax certainty",
            f"sentences.sentence {_READ} cohort.corrections",
        ),
        ("region", "sentences.sentence sentences.section cohort.corrections"),
        ("organ subsite laterality comparison text", "sentences.sentence cohort.corrections"),
        ("candidate joined_at cut_at corrected accepted_by", "cohort.corrections"),
        ("mask_source text_source", "exams.given_masks"),
        ("row_key", f"sentences.sentence {_READ}"),
    ),
    "peaks": (
        ("exam_id scanner", "exams.exam_id exams.scanner exams.source exams.units exams.spacing_k_mm"),
        ("patient_id", "exams.patient_id"),
        ("row_key", f"exams.row_key {_ASKED}"),
        ("n_findings likelihood_version", f"exams.suv_path {_ASKED}"),
        ("predicted_scales", "exams.sul_ratio exams.sul_james_ratio exams.uptake_s exams.half_life_s"),
        ("*", "exams.suv_path"),
    ),
    "calibration": (
        ("exam_id", "peaks.exam_id"),
        ("patient_id", "peaks.patient_id"),
        ("*", "peaks.likelihood_version peaks.scanner peaks.predicted_scales"),
    ),
    "lesions": (
        ("exam_id", "exams.exam_id"),
        ("patient_id", "exams.patient_id"),
        ("finding_id", "findings.finding_id"),
        ("sentence", "findings.sentence"),
        ("slice", "findings.slice"),
        ("suvmax_reported", "findings.suvmax_reported"),
        ("mask_source", "findings.mask_source"),
        ("slice_k", "findings.slice exams.ct_n_slices exams.ct_first_mm exams.ct_step_mm exams.suv_path"),
        ("voxel_ml spacing_i_mm spacing_j_mm spacing_k_mm", "exams.suv_path"),
        ("row_key", f"exams.row_key exams.status {_ASKED}"),
        ("*", f"{_IMAGE} {_ASKED} exams.ct_first_mm exams.ct_step_mm exams.status exams.problem exams.message"),
    ),
    "candidates": (
        ("exam_id", "exams.exam_id"),
        ("patient_id", "exams.patient_id"),
        ("row_key", "exams.row_key"),
        ("*", "exams.suv_path exams.ct_path peaks.peaks_path"),
    ),
    "proposals": (
        ("exam_id", "candidates.exam_id exams.problem"),
        ("patient_id", "candidates.patient_id"),
        ("suvmean suvpeak mtv_ml tlg diameter_mm stop_reason mask_path row_key", "exams.suv_path candidates.group_id"),
        (
            "p p_calibrated calibration model listed place is_accepted",
            "candidates.log_uptake candidates.prominence lesions.outcome exams.scanner",
        ),
        ("*", "candidates.candidate_id"),
    ),
    "exam_pairs": (
        ("exam_id prior_exam_id", "exams.exam_id exams.study_date exams.tracer"),
        ("patient_id", "exams.patient_id"),
        ("row_key", "exams.row_key"),
        ("days", "exams.study_date"),
        ("*", "exams.suv_path exams.study_date exams.tracer exams.status"),
    ),
    "lesion_links": (
        ("exam_id prior_exam_id", "exam_pairs.exam_id exam_pairs.prior_exam_id"),
        ("patient_id", "exam_pairs.patient_id"),
        ("days", "exam_pairs.days"),
        ("comparison", "findings.comparison"),
        ("suvmax_change_percent", "lesions.suvmax"),
        ("suvpeak_change_percent", "lesions.suvpeak"),
        ("mtv_ml_change_percent", "lesions.mtv_ml"),
        ("tlg_change_percent", "lesions.tlg"),
        (
            "*",
            "exam_pairs.matrix exam_pairs.block_shifts lesions.finding_id lesions.mask_path lesions.mtv_ml"
            " findings.organ findings.laterality findings.is_physiologic",
        ),
    ),
    "samples": (
        ("sample_id", "lesions.finding_id exams.exam_id"),
        ("kind question mask_label", ""),
        ("finding_id", "lesions.finding_id"),
        ("exam_id", "lesions.exam_id exams.exam_id"),
        ("patient_id", "lesions.patient_id exams.patient_id"),
        ("split", "lesions.patient_id exams.patient_id exams.split"),
        ("suv_path", "exams.suv_path"),
        ("ct_path", "exams.ct_path"),
        ("mask_path", "lesions.mask_path"),
        ("region", "findings.region"),
        ("organ", "findings.organ"),
        ("subsite", "findings.subsite"),
        ("laterality", "findings.laterality"),
        ("comparison", "findings.comparison"),
        ("suvmax", "lesions.suvmax"),
        ("slice", "lesions.slice"),
        (
            "target",
            f"{_WORDS} findings.region findings.organ findings.subsite findings.laterality findings.comparison "
            "lesions.suvmax_reported lesions.slice",
        ),
    ),
    "predictions": (
        ("finding_id", "samples.finding_id"),
        ("exam_id", "samples.exam_id"),
        ("patient_id", "samples.patient_id"),
        ("split", "samples.split"),
        ("reference", "samples.target"),
        ("model checkpoint", ""),
        ("text_measured", "samples.suv_path samples.ct_path samples.mask_path samples.question samples.suvmax"),
        ("*", "samples.suv_path samples.ct_path samples.mask_path samples.question"),
    ),
    "scores": (
        ("model", "predictions.model"),
        ("split", "predictions.split"),
        ("metric numbers signature status note cohort", ""),
        ("subset", "findings.text_evidence lesions.mtv_ml"),
        ("*", "predictions.text predictions.text_measured predictions.reference predictions.patient_id"),
    ),
    "comparisons": (
        ("model other", "predictions.model"),
        ("split", "predictions.split"),
        ("metric note", ""),
        ("*", "predictions.text_measured predictions.reference predictions.patient_id"),
    ),
    "reports": (
        ("exam_id", "cohort.exam_id"),
        ("patient_id", "cohort.patient_id"),
        ("study_date", "cohort.study_date"),
        ("tracer", "cohort.tracer"),
        ("message", "cohort.report_problem"),
        ("*", "cohort.report"),
    ),
    "identifiers": (
        ("exam_id", "cohort.exam_id"),
        ("patient_id", "cohort.patient_id"),
        ("is_masked", ""),
        ("*", "cohort.identifiers"),
    ),
    "robustness": (
        ("split", "samples.split"),
        ("model variant change amount_mm metric note", ""),
        ("*", "samples.suv_path samples.ct_path samples.mask_path samples.target samples.patient_id"),
    ),
    "agreement": (
        ("statistic criterion status note", ""),
        ("*", "predictions.text_measured predictions.reference predictions.patient_id"),
    ),
    "external": (("*", ""),),
    "ratings": (("*", ""),),
    "reviews": (("*", ""),),
    "corrections": (("exam_id", "cohort.exam_id"), ("patient_id", "cohort.patient_id"), ("*", "cohort.corrections")),
    "removals": (("*", "cohort.exam_id"),),
    "quarantine": (("*", ""),),
}
"""Rules of every table that an asset holds. No source: it comes from the settings, the code or people."""

VIEWS: Mapping[str, Rules] = {
    "findings": (
        ("outcome", "findings.outcome lesions.outcome"),
        ("explanation", "findings.outcome findings.explanation lesions.explanation"),
        ("text_outcome", "findings.outcome"),
        ("image_outcome", "findings.outcome lesions.outcome"),
        ("evidence posterior n_candidates candidates", "lesions.*"),
    ),
    "localisations": (("*", "lesions.*"),),
    "score_subsets": (("*", "scores.*"),),
    "lesions": (
        ("sentence", "lesions.sentence findings.sentence"),
        ("sentence_id votes readers agreement region organ subsite laterality comparison text corrected", "findings.*"),
        ("text_evidence is_physiologic size_cm n_lesions prior_suvmax certainty", "findings.*"),
        ("tracer has_ct", "exams.*"),
        ("*", "lesions.*"),
    ),
}
"""Views that are more than one table: what differs from it. `table.*` is the column of the same name."""


def sources_of(table: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """(table, column) that every column of a table is made from, in the table's order.

    Raises:
        KeyError: a table without rules, or a column that no rule names.
    """
    return _apply(table, list(schemas.types_of(table)), TABLES[table])


def view_sources(view: str, columns: Sequence[str]) -> dict[str, tuple[tuple[str, str], ...]]:
    """(table, column) that every column of a view of the catalog shows."""
    return _apply(view, columns, (*VIEWS.get(view, ()), ("*", f"{view}.*")))


def tables_of_view(view: str) -> list[str]:
    """Tables that a view of the catalog shows, the one that gives it its rows first."""
    named = [source.split(".")[0] for _, sources in VIEWS.get(view, ()) for source in sources.split()]
    return list(dict.fromkeys(named or [view]))


def _apply(name: str, columns: Sequence[str], rules: Rules) -> dict[str, tuple[tuple[str, str], ...]]:
    by_column: dict[str, str] = {}
    for words, sources in rules:
        for column in columns if words == "*" else words.split():
            by_column.setdefault(column, sources)
    missing = [column for column in columns if column not in by_column]
    if missing:
        raise KeyError(
            f"{name}: expected a rule for every column, got none for {', '.join(missing)}: add it to {__name__}"
        )
    found = {}
    for column in columns:
        pairs = [source.split(".") for source in by_column[column].split()]
        found[column] = tuple((table, column if source == "*" else source) for table, source in pairs)
    return found
