-- Two models side by side: who is better in which metric, by how much, and whether that is more than chance after Holm; of `hallucinated`, less is better.
SELECT split, metric, model, other, difference, low, high, p, p_holm, coalesce(p_holm < 0.05, false) AS is_significant, n, note
FROM comparisons
ORDER BY split, model, other, p_holm NULLS LAST, metric
