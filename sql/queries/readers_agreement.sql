-- How often two readers took the same slices, the same SUVmax and both from a sentence of which both give a mention; no rows with one reader.
WITH good AS (
    SELECT
        sentence_id,
        reader,
        list_sort(list(coalesce(slice, -1))) AS slices,
        list_sort(list(coalesce(suvmax, -1))) AS suvs
    FROM readings
    WHERE error IS NULL AND refused IS NULL AND mention > 0
    GROUP BY ALL
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
    round(100.0 * avg(CAST(a.slices = b.slices AS INTEGER)), 2) AS same_slice_percent,
    round(100.0 * avg(CAST(a.suvs = b.suvs AS INTEGER)), 2) AS same_suvmax_percent,
    round(100.0 * avg(CAST(a.slices = b.slices AND a.suvs = b.suvs AS INTEGER)), 2) AS same_both_percent
FROM firsts AS a
INNER JOIN seconds AS b ON a.sentence_id = b.sentence_id AND a.reader < b.reader
GROUP BY ALL
ORDER BY reader, other
