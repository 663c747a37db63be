-- Lesions over time: what became of each lesion between two exams of a patient, with the changes of its measures.
SELECT * FROM lake.lesion_links
