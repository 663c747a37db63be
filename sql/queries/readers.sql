-- Each reader: sentences read, failures, sentences with both values, and those that it read as of another exam or of several lesions.
SELECT
    reader,
    reader_version,
    count(*) AS n_sentences,
    count(error) AS n_failed,
    count(*) FILTER (WHERE slice IS NOT NULL AND suvmax IS NOT NULL) AS n_both_values,
    count(*) FILTER (WHERE is_current = false) AS n_not_current,
    count(*) FILTER (WHERE n_lesions > 1) AS n_several_lesions
FROM readings
GROUP BY ALL
ORDER BY reader, reader_version
