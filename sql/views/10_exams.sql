-- Exams of the cohort, usable or not, with the reason where not.
-- @suv_path: SUV volume, absolute path
-- @ct_path: CT volume on the PET's grid, absolute path
SELECT * REPLACE (under_home(suv_path) AS suv_path, under_home(ct_path) AS ct_path)
FROM lake.exams
