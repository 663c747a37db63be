-- Findings that were not in the image, with the nearest misses: best maximum on the slice, nearest slice with the SUVmax; 50 rows.
SELECT
    exam_id,
    finding_id,
    slice,
    suvmax_reported,
    nearest_suvmax_on_slice,
    nearest_slice_with_suvmax,
    nearest_slice_with_suvmax - slice AS slices_off,
    sentence
FROM localisations
WHERE outcome = 'not in the image'
ORDER BY abs(nearest_slice_with_suvmax - slice) NULLS LAST, finding_id
LIMIT 50
