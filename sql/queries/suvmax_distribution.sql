-- Distribution of the measured SUVmax: lesions in bins of 2.5 SUV up to 50; physiologic uptake is left out.
SELECT
    least(floor(suvmax / 2.5) * 2.5, 50) AS suvmax_from,
    CASE WHEN suvmax < 50 THEN floor(suvmax / 2.5) * 2.5 + 2.5 END AS suvmax_to,
    count(*) AS n_lesions,
    round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent
FROM lesions
WHERE is_physiologic IS NOT TRUE
GROUP BY ALL
ORDER BY suvmax_from
