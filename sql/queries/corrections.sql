-- What physicians corrected, and what became of each line of corrections.csv.
SELECT status, finding_id, field, value, corrected_by, corrected_at, message
FROM corrections
ORDER BY status, finding_id, field, corrected_at
