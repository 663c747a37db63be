-- Scores of models by split and metric, with intervals; metrics of words by kind of numbers; `published` rows are the paper's, of numbers as generated.
SELECT * FROM lake.scores WHERE subset = 'all'
