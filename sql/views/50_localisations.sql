-- Accepted findings as the image stage saw them, lesion or not, with the nearest misses of those that are none.
-- @mask_path: Mask, absolute path: uint8, cropped to its box
SELECT * REPLACE (under_home(mask_path) AS mask_path)
FROM lake.lesions
