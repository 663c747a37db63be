-- What reviewers found wrong and nobody has mended, and findings to review again as they were made anew since.
SELECT
    CASE WHEN r.is_stale THEN 'review again' ELSE 'fix' END AS todo,
    r.answer,
    r.finding_id,
    f.outcome,
    r.reviewer,
    r.note,
    f.sentence
FROM reviews AS r
JOIN findings AS f USING (finding_id)
WHERE
    CASE
        WHEN r.is_stale THEN r.finding_id NOT IN (SELECT finding_id FROM reviews WHERE NOT is_stale)
        ELSE r.answer NOT IN ('accept', 'physiologic', 'unsure')
    END
ORDER BY todo, r.answer, r.finding_id, r.reviewer
