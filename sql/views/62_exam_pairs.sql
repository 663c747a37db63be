-- Pairs of exams: each exam with the patient's last one of the same tracer before it, and how well they were registered.
SELECT * EXCLUDE (block_shifts) FROM lake.exam_pairs
