-- How often two readers took the same slice, the same SUVmax and both from a sentence that both read without error; no rows with one reader.
WITH good AS (
    SELECT sentence_id, reader, slice, suvmax FROM readings WHERE error IS NULL
),
-- The first reader by name is never the second of a pair, the last never the first: the join is half as large.
firsts AS (
    SELECT * FROM good WHERE reader <> (SELECT max(reader) FROM readings)
),
seconds AS (
    SELECT * FROM good WHERE reader <> (SELECT min(reader) FROM readings)
)
SELECT
    a.reader AS reader,
    b.reader AS other,
    count(*) AS n_sentences,
    round(100.0 * avg(CAST(a.slice IS NOT DISTINCT FROM b.slice AS INTEGER)), 2) AS same_slice_percent,
    round(100.0 * avg(CAST(a.suvmax IS NOT DISTINCT FROM b.suvmax AS INTEGER)), 2) AS same_suvmax_percent,
    round(
        100.0 * avg(CAST(a.slice IS NOT DISTINCT FROM b.slice AND a.suvmax IS NOT DISTINCT FROM b.suvmax AS INTEGER)), 2
    ) AS same_both_percent
FROM firsts AS a
INNER JOIN seconds AS b ON a.sentence_id = b.sentence_id AND a.reader < b.reader
GROUP BY ALL
ORDER BY reader, other
