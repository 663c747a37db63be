-- Tumour burden of each patient at each exam: lesions, total MTV and TLG, hottest SUVmax; the largest burden first, 50 rows.
-- What the text calls normal for its organ is counted apart and adds nothing.
-- Lesions that have voxels in common count their volume once, by the first of them: a bound from below where contours overlap in part.
SELECT
    patient_id,
    exam_id,
    count(*) FILTER (WHERE NOT is_physiologic) AS n_lesions,
    coalesce(sum(mtv_ml) FILTER (WHERE is_counted), 0) AS total_mtv_ml,
    coalesce(sum(tlg) FILTER (WHERE is_counted), 0) AS total_tlg,
    max(suvmax) FILTER (WHERE NOT is_physiologic) AS suvmax,
    count(*) FILTER (WHERE is_physiologic) AS n_physiologic
FROM (
    SELECT
        *,
        NOT is_physiologic
        AND (shares_with IS NULL OR finding_id < list_min(string_split(shares_with, ', '))) AS is_counted
    FROM (
        SELECT
            patient_id,
            exam_id,
            finding_id,
            shares_with,
            mtv_ml,
            tlg,
            suvmax,
            coalesce(is_physiologic, false) AS is_physiologic
        FROM lesions
    )
)
GROUP BY ALL
ORDER BY total_mtv_ml DESC, exam_id
LIMIT 50
