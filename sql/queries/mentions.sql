-- Every finding or mention of the reports by language, by what its text gives (slice and SUV, SUV only, slice only, neither) and by what became of it.
SELECT
    coalesce(s.language, 'und') AS language,
    coalesce(f.text_evidence, 'neither') AS text_evidence,
    f.outcome,
    count(*) AS n,
    count(DISTINCT f.exam_id) AS n_exams,
    min(f.sentence) AS example
FROM findings AS f
LEFT JOIN sentences AS s USING (sentence_id)
GROUP BY ALL
ORDER BY language, text_evidence, n DESC, outcome
