-- What physicians corrected, and what became of each line of corrections.csv and of the pages' answers.
SELECT
    CASE WHEN l.correction_problem IS NOT NULL AND c.status = 'applied' THEN 'not applied' ELSE c.status END AS status,
    c.finding_id,
    c.field,
    c.value,
    c.corrected_by,
    c.corrected_at,
    coalesce(c.message, CASE WHEN c.status = 'applied' THEN l.correction_problem END) AS message
FROM corrections AS c
LEFT JOIN
    localisations AS l
    ON c.finding_id = l.finding_id AND c.field IN ('join', 'cut', 'candidate', 'added')
ORDER BY status, c.finding_id, c.field, c.corrected_at
