-- Exams that gave no volume, a PET alone, or whose report was odd, with the message that says what to do.
SELECT exam_id, patient_id, status, problem, coalesce(message, report_message, ct_message) AS message
FROM exams
WHERE coalesce(message, report_message, ct_message) IS NOT NULL
ORDER BY problem, exam_id
