-- Reports as they were read: text (masked where that is set), date, and what is wrong with each.
SELECT * FROM lake.reports
