-- Lesions that came, went and changed since the last other version of the curation, and why.
SELECT change, why, finding_id, detail, outcome_before, outcome_now, mtv_ml_before, mtv_ml_now
FROM curation_diff
ORDER BY change, why, finding_id
