-- Course of every patient with more than one exam: burden of each exam, and what became of its lesions since the exam before.
SELECT
    e.patient_id,
    e.exam_id,
    e.study_date,
    e.tracer,
    p.prior_exam_id,
    p.days,
    coalesce(l.n_lesions, 0) AS n_lesions,
    coalesce(l.total_mtv_ml, 0) AS total_mtv_ml,
    coalesce(l.total_tlg, 0) AS total_tlg,
    l.suvmax,
    k.n_persisting,
    k.n_new,
    k.n_gone,
    k.n_not_linked,
    p.reason
FROM exams AS e
LEFT JOIN exam_pairs AS p USING (exam_id)
LEFT JOIN (
    SELECT
        exam_id,
        count(*) AS n_lesions,
        sum(mtv_ml) FILTER (WHERE is_counted) AS total_mtv_ml,
        sum(tlg) FILTER (WHERE is_counted) AS total_tlg,
        max(suvmax) AS suvmax
    FROM (
        SELECT
            *,
            shares_with IS NULL OR finding_id < list_min(string_split(shares_with, ', ')) AS is_counted
        FROM lesions
        WHERE is_physiologic IS NOT TRUE
    )
    GROUP BY exam_id
) AS l USING (exam_id)
LEFT JOIN (
    SELECT
        exam_id,
        count(DISTINCT tracked_as) FILTER (WHERE state IN ('persisting', 'split', 'merged')) AS n_persisting,
        count(DISTINCT tracked_as) FILTER (WHERE state = 'new') AS n_new,
        count(DISTINCT tracked_as) FILTER (WHERE state = 'resolved, or not described') AS n_gone,
        count(DISTINCT tracked_as) FILTER (WHERE state = 'not linked') AS n_not_linked
    FROM lesion_links
    GROUP BY exam_id
) AS k USING (exam_id)
WHERE e.patient_id IN (SELECT patient_id FROM exams GROUP BY patient_id HAVING count(*) > 1)
ORDER BY e.patient_id, e.study_date, e.exam_id
