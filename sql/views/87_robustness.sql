-- What a model's texts lose by worse masks: edges moved in and out, masks shifted, another lesion's mask.
SELECT * FROM lake.robustness
