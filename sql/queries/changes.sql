-- What changed since the last other version of the curation: findings by outcome before and now, counted; curation_diff names each and says why.
WITH now AS (
    SELECT finding_id, outcome, mtv_ml, suvmax FROM lake.lesions
),
before AS (
    SELECT finding_id, outcome, mtv_ml, suvmax FROM previous.lesions
),
paired AS (
    SELECT
        coalesce(b.outcome, '(no such finding)') AS outcome_before,
        coalesce(n.outcome, '(no such finding)') AS outcome_now,
        abs(n.mtv_ml - b.mtv_ml) AS mtv_ml_change,
        n.mtv_ml IS DISTINCT FROM b.mtv_ml OR n.suvmax IS DISTINCT FROM b.suvmax AS is_changed
    FROM now AS n
    FULL JOIN before AS b USING (finding_id)
)
SELECT
    CASE
        WHEN outcome_now = outcome_before AND is_changed THEN 'measured anew'
        WHEN outcome_now = outcome_before THEN 'unchanged'
        WHEN outcome_now = 'lesion' THEN 'came'
        WHEN outcome_before = 'lesion' THEN 'went'
        WHEN outcome_before = '(no such finding)' THEN 'came, rejected'
        WHEN outcome_now = '(no such finding)' THEN 'went, was rejected'
        ELSE 'rejected otherwise'
    END AS change,
    outcome_before,
    outcome_now,
    count(*) AS n,
    median(mtv_ml_change) AS mtv_ml_change_median
FROM paired
GROUP BY ALL
ORDER BY change, n DESC, outcome_before, outcome_now
