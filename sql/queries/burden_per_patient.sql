-- Tumour burden of each exam: lesions, total MTV and TLG, hottest SUVmax; the largest burden first, 50 rows.
-- Lesions that have voxels in common count their volume once, by the first of them: a bound from below where contours overlap in part.
SELECT
    patient_id,
    exam_id,
    count(*) AS n_lesions,
    coalesce(sum(mtv_ml) FILTER (WHERE is_counted), 0) AS total_mtv_ml,
    coalesce(sum(tlg) FILTER (WHERE is_counted), 0) AS total_tlg,
    max(suvmax) AS suvmax
FROM (
    SELECT
        patient_id,
        exam_id,
        mtv_ml,
        tlg,
        suvmax,
        shares_with IS NULL OR finding_id < list_min(string_split(shares_with, ', ')) AS is_counted
    FROM lake.localisations
    WHERE outcome = 'lesion'
)
GROUP BY ALL
ORDER BY total_mtv_ml DESC, exam_id
LIMIT 50
