-- Exams of the cohort, usable or not, with the reason where not.
-- @suv_path: SUV volume, absolute path
-- @ct_path: CT volume on the PET's grid, absolute path
-- @message: Why there is no volume, or what is to be told of how it was read; where no finding is in the image, what may be wrong with the exam
SELECT e.* REPLACE (
    under_home(e.suv_path) AS suv_path,
    under_home(e.ct_path) AS ct_path,
    CASE WHEN lost.n_findings IS NULL THEN e.message ELSE concat(
        'none of its findings is in the image (', lost.n_findings, '); what may be wrong: ',
        coalesce(e.message || '; ', ''),
        'the report is of another exam, counts other slices, or gives SUV of another norm or dose'
    ) END AS message
)
FROM lake.exams AS e
LEFT JOIN (
    SELECT l.exam_id, count(*) AS n_findings
    FROM lake.lesions AS l
    GROUP BY l.exam_id
    HAVING bool_and(l.outcome = 'not in the image')
) AS lost ON lost.exam_id = e.exam_id
