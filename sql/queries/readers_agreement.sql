-- How often two readers took the same slice, the same SUVmax and both from a sentence that both read without error.
SELECT
    a.reader AS reader,
    b.reader AS other,
    count(*) AS n_sentences,
    round(100.0 * avg(CAST(a.slice IS NOT DISTINCT FROM b.slice AS INTEGER)), 2) AS same_slice_percent,
    round(100.0 * avg(CAST(a.suvmax IS NOT DISTINCT FROM b.suvmax AS INTEGER)), 2) AS same_suvmax_percent,
    round(
        100.0 * avg(CAST(a.slice IS NOT DISTINCT FROM b.slice AND a.suvmax IS NOT DISTINCT FROM b.suvmax AS INTEGER)), 2
    ) AS same_both_percent
FROM readings AS a
INNER JOIN readings AS b ON a.sentence_id = b.sentence_id AND a.reader < b.reader
WHERE a.error IS NULL AND b.error IS NULL
GROUP BY ALL
ORDER BY reader, other
