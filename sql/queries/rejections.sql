-- Why findings are no lesions: count and share of each reason, with one sentence as an example.
SELECT
    CASE WHEN text_outcome = 'accepted' THEN 'image' ELSE 'text' END AS stage,
    outcome AS reason,
    count(*) AS n,
    round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,
    min(sentence) AS example
FROM findings
WHERE outcome NOT IN ('lesion', 'accepted')
GROUP BY ALL
ORDER BY n DESC, reason
