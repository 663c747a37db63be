-- What each reader took from each candidate sentence, also for exams without images.
SELECT * FROM lake.readings
