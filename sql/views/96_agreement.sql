-- Figures of the reader study: means, preferences, agreement of readers, metrics against readers.
SELECT * FROM lake.agreement
