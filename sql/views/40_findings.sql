-- Findings of the reports and what became of each: a lesion, or the reason why not.
-- @outcome: `lesion`, or why it is none; `accepted` where the image stage has not run yet
-- @explanation: What exactly decided
-- @text_outcome: What the text stage said: `accepted`, or its reason
-- @image_outcome: What the image stage said: `lesion`, or its reason; null where the text stage rejected it
SELECT
    f.* REPLACE (
        CASE WHEN f.outcome = 'accepted' THEN coalesce(l.outcome, f.outcome) ELSE f.outcome END AS outcome,
        CASE WHEN f.outcome = 'accepted' THEN coalesce(l.explanation, f.explanation) ELSE f.explanation END AS explanation
    ),
    f.outcome AS text_outcome,
    CASE WHEN f.outcome = 'accepted' THEN l.outcome END AS image_outcome,
    l.evidence,
    l.posterior,
    l.n_candidates,
    l.candidates
FROM lake.findings AS f
LEFT JOIN lake.lesions AS l USING (finding_id)
