-- Proposals of exams without a report: what is to be reviewed, and what reviewers said of it.
-- @mask_path: Mask, absolute path: uint8, cropped to its box
SELECT * REPLACE (under_home(mask_path) AS mask_path)
FROM lake.proposals
