-- Tumour burden of each patient and exam: lesions, total MTV and TLG, hottest SUVmax; the largest burden first, 50 rows.
-- Lesions that share one contour count their volume once.
WITH contours AS (
    SELECT DISTINCT ON (exam_id, peak_x_mm, peak_y_mm, peak_z_mm, n_voxels)
        exam_id, finding_id, mtv_ml, tlg
    FROM localisations
    WHERE outcome = 'lesion'
    ORDER BY finding_id
),
volumes AS (
    SELECT exam_id, sum(mtv_ml) AS total_mtv_ml, sum(tlg) AS total_tlg FROM contours GROUP BY ALL
),
counts AS (
    SELECT patient_id, exam_id, count(*) AS n_lesions, max(suvmax) AS suvmax
    FROM localisations
    WHERE outcome = 'lesion'
    GROUP BY ALL
)
SELECT patient_id, exam_id, n_lesions, total_mtv_ml, total_tlg, suvmax
FROM counts
INNER JOIN volumes USING (exam_id)
ORDER BY total_mtv_ml DESC, exam_id
LIMIT 50
