-- Lesions whose measured SUVmax differs most from the report, 50 rows; 0.1 is what rounding and the search allow.
SELECT
    exam_id,
    finding_id,
    slice,
    suvmax_reported,
    suvmax,
    suvmax - suvmax_reported AS difference,
    evidence,
    suv_scale,
    sentence
FROM localisations
WHERE outcome = 'lesion'
ORDER BY abs(suvmax - suvmax_reported) DESC, finding_id
LIMIT 50
