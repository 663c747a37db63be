-- Exams that gave no volume, or a PET alone, with the message that says what to do.
SELECT exam_id, patient_id, status, problem, coalesce(message, ct_message) AS message
FROM exams
WHERE status <> 'ok' OR problem IS NOT NULL
ORDER BY problem, exam_id
