-- Exams that left the cohort: when that was seen, why, and how many rows of each table went.
SELECT removed_at, exam_id, patient_id, reason, "table", count(*) AS n_rows
FROM removals
GROUP BY ALL
ORDER BY removed_at DESC, exam_id, "table"
