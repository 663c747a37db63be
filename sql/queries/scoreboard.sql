-- Every model and metric with its interval, the paper's rows beside them as published.
SELECT split, metric, model, value, low, high, n, status, note
FROM scores
ORDER BY metric, split, value DESC NULLS LAST, model
