-- What corrections.csv of the cohort says of findings, and what became of each line.
SELECT * FROM lake.corrections
