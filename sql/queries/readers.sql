-- Each reader: passages read, failures, mentions, refusals, mentions with both values, and those of another exam or of no lesion.
SELECT
    reader,
    reader_version,
    count(DISTINCT passage_id) AS n_passages,
    count(DISTINCT passage_id) FILTER (WHERE error IS NOT NULL) AS n_failed,
    count(*) FILTER (WHERE mention > 0) AS n_mentions,
    count(refused) AS n_refused,
    count(*) FILTER (WHERE slice IS NOT NULL AND suvmax IS NOT NULL) AS n_both_values,
    count(*) FILTER (WHERE exam <> 'current') AS n_not_current,
    count(*) FILTER (WHERE role NOT IN ('lesion', 'physiologic')) AS n_no_lesion
FROM readings
GROUP BY ALL
ORDER BY reader, reader_version
