-- Lesions by tracer: count, share, patients, and medians of SUVmax, volume and TLG; physiologic uptake is left out.
SELECT
    coalesce(tracer, '(unknown)') AS tracer,
    count(*) AS n_lesions,
    round(100.0 * count(*) / sum(count(*)) OVER (), 2) AS percent,
    count(DISTINCT patient_id) AS n_patients,
    median(suvmax) AS suvmax_median,
    median(mtv_ml) AS mtv_ml_median,
    median(tlg) AS tlg_median
FROM lesions
WHERE is_physiologic IS NOT TRUE
GROUP BY ALL
ORDER BY n_lesions DESC, 1
