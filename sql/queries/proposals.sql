-- Proposals of exams without a report that are to be reviewed or were, exam by exam, the likeliest first.
SELECT exam_id, place, candidate_id, slice, side, organ, suvmax, mtv_ml, p, p_calibrated, calibration, listed, answer
FROM proposals
WHERE listed IS NOT NULL OR answer IS NOT NULL
ORDER BY exam_id, place
