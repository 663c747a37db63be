-- What readers gave the texts of the reader study, blind to who wrote them.
SELECT * FROM lake.ratings
