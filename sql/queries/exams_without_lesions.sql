-- Exams that gave no lesion and why: no volume, no finding, physiologic uptake alone, or the reasons of their findings; by reason, with one exam each.
WITH bare AS (
    SELECT exam_id, status, problem
    FROM exams
    WHERE exam_id NOT IN (SELECT exam_id FROM lesions WHERE is_physiologic IS NOT TRUE)
),
-- Only the findings of these exams, before anything is joined to them: they are few.
their_findings AS (
    SELECT exam_id, finding_id, outcome FROM lake.findings WHERE exam_id IN (SELECT exam_id FROM bare)
),
outcomes AS (
    SELECT
        f.exam_id,
        f.finding_id,
        -- A located finding of such an exam is physiologic uptake.
        CASE
            WHEN f.outcome <> 'accepted' THEN f.outcome
            WHEN l.outcome = 'lesion' THEN 'physiologic uptake'
            ELSE coalesce(l.outcome, f.outcome)
        END AS outcome
    FROM their_findings AS f
    LEFT JOIN lake.lesions AS l ON l.finding_id = f.finding_id
),
per_exam AS (
    SELECT
        b.exam_id,
        CASE
            WHEN b.status <> 'ok' THEN 'no volume: ' || b.problem
            WHEN count(o.finding_id) = 0 THEN 'report names no finding'
            ELSE string_agg(DISTINCT o.outcome, ', ' ORDER BY o.outcome)
        END AS reason
    FROM bare AS b
    LEFT JOIN outcomes AS o USING (exam_id)
    GROUP BY b.exam_id, b.status, b.problem
)
SELECT reason, count(*) AS n_exams, min(exam_id) AS example
FROM per_exam
GROUP BY ALL
ORDER BY n_exams DESC, reason
