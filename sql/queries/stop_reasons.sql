-- How contours ended: count and volume by method, stop reason and outcome.
SELECT
    method,
    stop_reason,
    outcome,
    count(*) AS n,
    median(mtv_ml) AS mtv_ml_median,
    median(iterations) AS iterations_median
FROM localisations
WHERE method IS NOT NULL
GROUP BY ALL
ORDER BY n DESC, method, stop_reason, outcome
