-- Rows that broke the contract of their table, with the rules that they broke.
SELECT * FROM lake.quarantine
