-- What each reader took from each passage, a row a mention, also for exams without images.
SELECT * FROM lake.readings
