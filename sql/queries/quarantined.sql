-- Rows that broke their table's contract, by table and rule.
WITH broken AS (
    SELECT "table", unnest(string_split(rules, '; ')) AS rule, exam_id FROM quarantine
)
SELECT "table", rule, count(*) AS n_rows, min(exam_id) AS example
FROM broken
GROUP BY ALL
ORDER BY n_rows DESC, "table", rule
