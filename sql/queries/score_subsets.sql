-- Every model and metric on parts of the held-out lesions: what their text gave (slice, SUVmax) and how large they are.
SELECT model, split, metric, subset, value, low, high, n, status, note
FROM score_subsets
WHERE status = 'computed'
ORDER BY metric, split, model, subset
