-- Scores of models by split and metric, with intervals; `published` rows are the paper's.
SELECT * FROM lake.scores
