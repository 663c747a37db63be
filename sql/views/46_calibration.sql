-- How the report of each exam is read against its image.
SELECT * FROM lake.calibration
