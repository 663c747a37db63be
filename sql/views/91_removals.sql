-- Rows that left the lake with their exam.
SELECT * FROM lake.removals
