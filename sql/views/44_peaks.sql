-- Exams with a volume: their peaks, body frame and label map.
-- @peaks_path: File of its peaks, absolute path
SELECT * REPLACE (under_home(peaks_path) AS peaks_path)
FROM lake.peaks
