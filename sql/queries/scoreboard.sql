-- Every model and metric with its interval, cohort and data version, the paper's rows beside them as published; n_left_out says how many texts could not count.
SELECT model, cohort, split, data_version, metric, numbers, value, low, high, n, n_left_out, status, note
FROM scores
ORDER BY bool_or(status = 'computed') OVER (PARTITION BY metric) DESC, metric, numbers, split, value DESC NULLS LAST, model
