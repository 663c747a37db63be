-- Identifiers that were found in report texts, by exam and kind, counted; what they said is nowhere.
SELECT * FROM lake.identifiers
