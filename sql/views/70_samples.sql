-- Questions with their answers, for training and evaluation, each with its split.
-- @suv_path: SUV volume, absolute path
-- @ct_path: CT volume on the PET's grid, absolute path; null where there is none
-- @mask_path: Mask, absolute path
SELECT
    * REPLACE (
        under_home(suv_path) AS suv_path, under_home(ct_path) AS ct_path, under_home(mask_path) AS mask_path
    )
FROM lake.samples
