-- Local maxima that may be lesions, of exams with and without a report, with what a model of proposals reads of each.
SELECT * FROM lake.candidates
