-- Reliability of accepted locations: by kind of evidence and posterior, what they claim against what reviewers said of them.
-- Right is a lesion that a reviewer accepted, called physiologic, or faulted for its contour alone; unsure and outdated answers are left out.
SELECT
    l.evidence,
    CASE WHEN l.posterior < 0.98 THEN '0.95 to 0.98' WHEN l.posterior < 0.995 THEN '0.98 to 0.995' ELSE 'from 0.995' END
        AS posterior,
    count(DISTINCT l.finding_id) AS n_accepted,
    avg(l.posterior) AS claimed,
    count(r.answer) AS n_answers,
    avg((r.answer IN ('accept', 'physiologic', 'wrong contour'))::INTEGER) AS right_part
FROM lesions AS l
LEFT JOIN reviews AS r ON l.finding_id = r.finding_id AND NOT r.is_stale AND r.answer <> 'unsure'
WHERE l.posterior IS NOT NULL AND l.evidence NOT IN ('review', 'given mask')
GROUP BY ALL
ORDER BY l.evidence, posterior
