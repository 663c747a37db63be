-- Distribution of the metabolic volume: lesions in bins whose bounds double, in mL; physiologic uptake is left out.
SELECT
    round(pow(2, floor(log2(mtv_ml))), 4) AS mtv_ml_from,
    round(pow(2, floor(log2(mtv_ml)) + 1), 4) AS mtv_ml_to,
    count(*) AS n_lesions,
    round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent
FROM lesions
WHERE is_physiologic IS NOT TRUE
GROUP BY ALL
ORDER BY mtv_ml_from
