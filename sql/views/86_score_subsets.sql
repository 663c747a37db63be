-- Scores of models on parts of the lesions: by what the text gave to locate them by, and by their size.
SELECT * FROM lake.scores WHERE subset <> 'all'
