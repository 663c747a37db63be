-- Samples by kind and split: samples, exams and patients, and the share of the split.
SELECT
    kind,
    split,
    count(*) AS n_samples,
    count(DISTINCT exam_id) AS n_exams,
    count(DISTINCT patient_id) AS n_patients,
    round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY kind), 2) AS percent
FROM samples
GROUP BY kind, split
ORDER BY kind, split
