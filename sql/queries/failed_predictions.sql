-- Lesions without a text, by model and reason: failed requests, missing or double lines of a file.
SELECT model, split, error, count(*) AS n, min(finding_id) AS for_example
FROM predictions
WHERE error IS NOT NULL
GROUP BY ALL
ORDER BY model, split, n DESC, error
