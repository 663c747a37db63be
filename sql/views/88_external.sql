-- Lesions of the external set with the texts that the model gave; there is no reference.
SELECT * REPLACE (under_home(suv_path) AS suv_path, under_home(ct_path) AS ct_path, under_home(mask_path) AS mask_path)
FROM lake.external
