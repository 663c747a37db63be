-- Models side by side on the lesions that both described: difference with interval, p, and p after Holm.
SELECT * FROM lake.comparisons
