-- Exams that gave no lesion and why: no volume, no finding, or the reasons of their findings; by reason, with one exam each.
WITH with_lesion AS (
    SELECT DISTINCT exam_id FROM localisations WHERE outcome = 'lesion'
),
per_exam AS (
    SELECT
        e.exam_id,
        CASE
            WHEN e.status <> 'ok' THEN 'no volume: ' || e.problem
            WHEN count(f.finding_id) = 0 THEN 'report names no finding'
            ELSE string_agg(DISTINCT f.outcome, ', ' ORDER BY f.outcome)
        END AS reason
    FROM exams AS e
    LEFT JOIN findings AS f USING (exam_id)
    WHERE e.exam_id NOT IN (SELECT exam_id FROM with_lesion)
    GROUP BY e.exam_id, e.status, e.problem
)
SELECT reason, count(*) AS n_exams, min(exam_id) AS example
FROM per_exam
GROUP BY ALL
ORDER BY n_exams DESC, reason
