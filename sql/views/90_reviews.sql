-- What physicians said of lesions.
SELECT * FROM lake.reviews
