-- Every patient with exams and lesions, for splits and for who has many; physiologic uptake is left out.
SELECT
    e.patient_id,
    count(*) AS n_exams,
    coalesce(sum(l.n), 0)::BIGINT AS n_lesions
FROM lake.exams AS e
LEFT JOIN (
    SELECT exam_id, count(*) AS n FROM lesions WHERE is_physiologic IS NOT TRUE GROUP BY exam_id
) AS l USING (exam_id)
GROUP BY e.patient_id
ORDER BY n_lesions DESC, e.patient_id
