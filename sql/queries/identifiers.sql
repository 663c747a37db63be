-- Identifiers in report texts by kind (names, numbers, dates): how many, in how many exams, and how many are masked.
SELECT
    kind,
    sum(n) AS n_found,
    coalesce(sum(n) FILTER (WHERE is_masked), 0) AS n_masked,
    count(DISTINCT exam_id) AS n_exams,
    min(exam_id) AS example
FROM identifiers
GROUP BY kind
ORDER BY n_found DESC, kind
