-- Attrition from exams to lesions (the CONSORT funnel): how many are left after each step, and why the others fell out.
WITH exam_counts AS (
    SELECT count(*) AS n, count(*) FILTER (WHERE status = 'ok') AS n_ok FROM exams
),
sentence_counts AS (
    SELECT count(*) AS n, count(*) FILTER (WHERE is_candidate) AS n_candidates FROM sentences
),
evidence AS (
    SELECT coalesce(text_evidence, 'neither') AS text_evidence, count(*) AS n FROM findings GROUP BY ALL
),
outcomes AS (
    SELECT
        outcome,
        (text_outcome = 'accepted') AS is_accepted,
        count(*) AS n
    FROM findings
    GROUP BY ALL
),
steps AS (
    SELECT 10 AS step, 'exams' AS what, NULL AS reason, n FROM exam_counts
    UNION ALL
    SELECT 11, 'exams without volume', problem, count(*) FROM exams WHERE status <> 'ok' GROUP BY ALL
    UNION ALL
    SELECT 20, 'exams with volume', NULL, n_ok FROM exam_counts
    UNION ALL
    SELECT 30, 'sentences', NULL, n FROM sentence_counts
    UNION ALL
    SELECT 40, 'candidate sentences', NULL, n_candidates FROM sentence_counts
    UNION ALL
    SELECT 41, 'sentences by language', language, count(*) FROM sentences WHERE language <> 'en' GROUP BY ALL
    UNION ALL
    SELECT 50, 'findings', NULL, coalesce(sum(n), 0) FROM outcomes
    UNION ALL
    SELECT 50.5, 'findings by what the text gives', text_evidence, n FROM evidence
    UNION ALL
    SELECT 51, 'findings rejected by text', outcome, n FROM outcomes WHERE NOT is_accepted
    UNION ALL
    SELECT 60, 'findings accepted', NULL, coalesce(sum(n) FILTER (WHERE is_accepted), 0) FROM outcomes
    UNION ALL
    SELECT 61, 'findings rejected by image', outcome, n FROM outcomes
    WHERE is_accepted AND outcome NOT IN ('lesion', 'accepted')
    UNION ALL
    SELECT 62, 'findings waiting for the image stage', NULL, n FROM outcomes WHERE is_accepted AND outcome = 'accepted'
    UNION ALL
    SELECT 70, 'lesions', NULL, coalesce(sum(n) FILTER (WHERE outcome = 'lesion'), 0) FROM outcomes
    UNION ALL
    SELECT 71, 'lesions: what they are', 'physiologic uptake', count(*) FROM lesions WHERE is_physiologic
    HAVING count(*) > 0
)
SELECT what, reason, CAST(n AS BIGINT) AS n
FROM steps
ORDER BY step, n DESC, reason
