-- Sentences of the reports, each with its place in the report, candidate or not.
SELECT * FROM lake.sentences
