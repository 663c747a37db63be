-- Findings with nothing to locate by, with the candidates of the exam about their slice and on their side; 6 each, the most prominent first.
SELECT
    f.exam_id,
    f.finding_id,
    f.slice,
    f.laterality,
    f.organ,
    c.candidate_id,
    c.slice AS candidate_slice,
    c.side AS candidate_side,
    c.organ AS candidate_organ,
    c.suvmax,
    c.prominence_suv,
    f.sentence
FROM findings AS f
LEFT JOIN candidates AS c
    ON
        f.exam_id = c.exam_id
        AND (f.slice IS NULL OR abs(c.slice - f.slice) <= 3)
        AND (c.side IS NULL OR f.laterality IS NULL OR f.laterality NOT IN ('left', 'right') OR c.side = f.laterality)
WHERE f.outcome = 'nothing to locate by'
QUALIFY row_number() OVER (PARTITION BY f.finding_id ORDER BY c.prominence_suv DESC NULLS LAST, c.candidate_id) <= 6
ORDER BY f.exam_id, f.finding_id, c.prominence_suv DESC NULLS LAST, c.candidate_id
