-- Texts that models gave for lesions, as they came and with measured numbers put in.
SELECT * FROM lake.predictions
