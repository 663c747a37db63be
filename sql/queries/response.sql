-- Response since the exam before, by rules like those of PERCIST 1.0 (Wahl 2009), on SUV by body weight: complete (no lesion is left),
-- progressive (a new lesion, or the hottest SUVpeak of now at least 30 % and 0.8 above that of before), partial (at least 30 % and 0.8 below), else stable.
-- PERCIST asks for SUL, a target above 1.5 times the liver and the same uptake time, which are not checked; a lesion that is not described counts as gone.
WITH peaks AS (
    SELECT
        exam_id,
        max(suvpeak) AS suvpeak
    FROM lesions
    WHERE is_physiologic IS NOT TRUE
    GROUP BY exam_id
),
states AS (
    SELECT
        exam_id,
        count(*) FILTER (WHERE state = 'new') AS n_new,
        count(*) FILTER (WHERE state = 'not linked') AS n_not_linked
    FROM lesion_links
    GROUP BY exam_id
),
compared AS (
    SELECT
        p.patient_id,
        p.exam_id,
        p.prior_exam_id,
        p.days,
        before.suvpeak AS suvpeak_before,
        now.suvpeak AS suvpeak_now,
        coalesce(s.n_new, 0) AS n_new,
        coalesce(s.n_not_linked, 0) AS n_not_linked
    FROM exam_pairs AS p
    LEFT JOIN peaks AS before ON before.exam_id = p.prior_exam_id
    LEFT JOIN peaks AS now ON now.exam_id = p.exam_id
    LEFT JOIN states AS s ON s.exam_id = p.exam_id
    WHERE p.reason IS NULL
)
SELECT
    *,
    round(100 * (suvpeak_now / suvpeak_before - 1), 1) AS change_percent,
    CASE
        WHEN suvpeak_before IS NULL AND suvpeak_now IS NULL THEN 'no lesion at either exam'
        WHEN suvpeak_now IS NULL THEN 'complete'
        WHEN suvpeak_before IS NULL OR n_new > 0 THEN 'progressive'
        WHEN suvpeak_now >= 1.3 * suvpeak_before AND suvpeak_now - suvpeak_before >= 0.8 THEN 'progressive'
        WHEN suvpeak_now <= 0.7 * suvpeak_before AND suvpeak_before - suvpeak_now >= 0.8 THEN 'partial'
        ELSE 'stable'
    END AS response
FROM compared
ORDER BY patient_id, exam_id
