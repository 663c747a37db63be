-- Lesions: the findings that were located, contoured and measured, with their fields from the report.
-- @mask_path: Mask, absolute path: uint8, cropped to its box
-- @tracer: Radiopharmaceutical of the exam; null where unknown
SELECT
    l.* EXCLUDE (outcome, nearest_suvmax_on_slice, nearest_slice_with_suvmax)
        REPLACE (under_home(l.mask_path) AS mask_path, coalesce(l.sentence, f.sentence) AS sentence),
    f.sentence_id,
    f.votes,
    f.readers,
    f.agreement,
    f.region,
    f.organ,
    f.subsite,
    f.laterality,
    f.comparison,
    f.text,
    f.text_evidence,
    f.is_physiologic,
    f.size_cm,
    f.n_lesions,
    f.prior_suvmax,
    f.certainty,
    f.corrected,
    e.tracer,
    e.has_ct
FROM lake.lesions AS l
LEFT JOIN lake.findings AS f USING (finding_id)
LEFT JOIN lake.exams AS e ON e.exam_id = l.exam_id
WHERE l.outcome = 'lesion'
